package main

import (
	"example.com/linktracker/linkcore/advice"
)

// What the verbs say where one of Google's APIs cannot be used.
var (
	readingRules = advice.Service{
		Name:     "Firestore",
		Denied:   "your account needs the role roles/datastore.viewer on this project",
		NotFound: "check the project and the database in --blocklist or BLOCKLIST",
		Emulator: "FIRESTORE_EMULATOR_HOST",
	}
	writingRules = advice.Service{
		Name:     "Firestore",
		Denied:   "your account needs the role roles/datastore.user on this project",
		NotFound: readingRules.NotFound,
		Emulator: readingRules.Emulator,
	}
	clicksPublisher = advice.Service{
		Name:     "Pub/Sub",
		Denied:   "your account needs the role roles/pubsub.publisher on this topic, as Terraform's variable `replayers` gives it",
		NotFound: "check the project and the topic in --clicks or CLICKS",
		Silent:   "run it again, it goes on from here",
		Emulator: "PUBSUB_EMULATOR_HOST",
	}
)
