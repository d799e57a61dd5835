//go:build !race

package watch

const newsletterClicks = 1_000_000
