//go:build race

package watch

// Under the race detector everything takes ten times as long.
const newsletterClicks = 60_000
