package event

// For tests of what a recorder makes, which is in a room above.
var (
	Schema = schema
	Read   = read
)
