// Function is the endpoint as a function, started as the buildpack starts it.
package main

import (
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	_ "example.com/linktracker"
)

func main() {
	os.Setenv("FUNCTION_TARGET", "Redirect")
	log.Fatal(funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")))
}
