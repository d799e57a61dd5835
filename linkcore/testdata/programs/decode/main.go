// Decode prints the links of events, one JSON object a line.
package main

import (
	"bufio"
	"fmt"
	"os"

	"example.com/linktracker/linkcore/event"
)

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var e event.Event
		if err := e.UnmarshalJSON(lines.Bytes()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(e.Type, e.Customer, e.Link)
	}
}
