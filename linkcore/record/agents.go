package record

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
)

// agentsFile is the list of names that identify agents; its head says how it
// is written.
//
//go:embed agents.tsv
var agentsFile string

// An agentKind is what a name says of the agent that has it.
type agentKind uint8

const (
	scannerName agentKind = iota // also previewers, crawlers and libraries
	documentName
	proxyName
	mailerName
	personName

	// What identifies browsers, which no list needs to say.
	chromeName
	firefoxName
	safariVersionName
	webViewName
)

var agentKinds = map[string]agentKind{
	"gateway": scannerName, "previewer": scannerName, "crawler": scannerName, "library": scannerName,
	"document": documentName, "proxy": proxyName, "mailer": mailerName, "person": personName,
}

// An agentName is a name with what may stand around it.
type agentName struct {
	kind     agentKind
	provider string // of mail; empty: none
	text     string // lower case
	start    bool   // stands at the start of the agent
	end      bool   // stands at its end
	before   bool   // no letter before it
	after    bool   // no letter after it
}

func parseAgentName(kind agentKind, s string) agentName {
	n := agentName{kind: kind, text: s}
	if text, ok := strings.CutPrefix(s, "="); ok {
		n.text, n.start, n.end = text, true, true
		return n
	}
	if text, ok := strings.CutPrefix(n.text, "^"); ok {
		n.text, n.start = text, true
	} else if text, ok := strings.CutPrefix(n.text, "*"); ok {
		n.text = text
	} else {
		n.before = isLetter(n.text[0])
	}
	if text, ok := strings.CutSuffix(n.text, "$"); ok {
		n.text, n.end = text, true
	} else if text, ok := strings.CutSuffix(n.text, "*"); ok {
		n.text = text
	} else {
		n.after = isLetter(n.text[len(n.text)-1])
	}
	return n
}

// fits reports whether the name, whose last byte is at i, may stand there.
func (n *agentName) fits(agent string, i int) bool {
	first := i + 1 - len(n.text)
	return (!n.start || first == 0) &&
		(!n.end || i == len(agent)-1) &&
		(!n.before || first == 0 || !isLetter(agent[first-1])) &&
		(!n.after || i == len(agent)-1 || !isLetter(agent[i+1]))
}

func isLetter(c byte) bool {
	c |= 0x20
	return 'a' <= c && c <= 'z'
}

// An agentMatcher finds all names in an agent with one step a byte, however many
// names there are: the automaton of Aho and Corasick, with its failure links
// resolved into one table.
type agentMatcher struct {
	class     [256]uint8 // of a byte; 0: stands in no name. Capitals have the class of their letter
	next      []uint32   // the next state, by state + class; states are multiples of maxClasses
	accepting uint32     // the first state in which a name ends; all after it are such
	names     [][]agentName
}

// maxClasses is how many classes of bytes there may be.
const maxClasses = 64

// theAgents is made when it is first needed, which takes about two milliseconds:
// tools that only read events do without.
var theAgents = sync.OnceValue(func() *agentMatcher {
	names, err := parseAgents(agentsFile)
	if err != nil {
		panic(err) // it is part of the program, and tested
	}
	return newAgentMatcher(append(names,
		parseAgentName(chromeName, "chrome/"),
		parseAgentName(firefoxName, "firefox/"),
		parseAgentName(safariVersionName, "version/"),
		parseAgentName(webViewName, "; wv)"),
	))
})

// parseAgents reads the list.
func parseAgents(file string) ([]agentName, error) {
	var names []agentName
	number := 0
	for line := range strings.Lines(file) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "\t")
		word, provider, _ := strings.Cut(cells[0], ":")
		kind, ok := agentKinds[word]
		if !ok || len(cells) != 3 || strings.Trim(cells[1], "^=*$") == "" || cells[2] == "" {
			return nil, fmt.Errorf("agents.tsv line %d: %q is not kind, name, source", number, line)
		}
		name := parseAgentName(kind, cells[1])
		name.provider = provider
		names = append(names, name)
	}
	return names, nil
}

func newAgentMatcher(names []agentName) *agentMatcher {
	m := &agentMatcher{}
	classes := uint8(1)
	for _, n := range names {
		for i := range len(n.text) {
			c := n.text[i]
			if m.class[c] != 0 {
				continue
			}
			if classes == maxClasses {
				panic("the names of agents have too many different characters")
			}
			m.class[c] = classes
			if isLetter(c) {
				m.class[c&^0x20] = classes
			}
			classes++
		}
	}

	// The trie of the names; state 0 is its root.
	type state struct {
		next  [maxClasses]uint16
		names []agentName // that end here, the longest first
		fail  uint16
	}
	length := 1
	for _, n := range names {
		length += len(n.text)
	}
	states := make([]state, 1, length)
	for _, n := range names {
		at := uint16(0)
		for i := range len(n.text) {
			class := m.class[n.text[i]]
			if states[at].next[class] == 0 {
				states[at].next[class] = uint16(len(states))
				states = append(states, state{})
			}
			at = states[at].next[class]
		}
		states[at].names = append(states[at].names, n)
	}

	// Breadth first: a state's failure link leads to a shorter word, which is
	// done by then.
	queue := []uint16{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for class, child := range states[at].next {
			fallback := uint16(0)
			if at != 0 {
				fallback = states[states[at].fail].next[class]
			}
			if child == 0 {
				states[at].next[class] = fallback
				continue
			}
			states[child].fail = fallback
			states[child].names = append(states[child].names, states[fallback].names...)
			queue = append(queue, child)
		}
	}

	// Those in which names end go last, so that one comparison finds them.
	order := make([]uint32, 0, len(states))
	place := make([]uint32, len(states))
	for _, accepting := range []bool{false, true} {
		if accepting {
			m.accepting = uint32(len(order)) * maxClasses
		}
		for i := range states {
			if (len(states[i].names) > 0) == accepting {
				place[i] = uint32(len(order)) * maxClasses
				order = append(order, uint32(i))
			}
		}
	}
	m.next = make([]uint32, 0, len(states)*maxClasses)
	for _, i := range order {
		for _, to := range states[i].next {
			m.next = append(m.next, place[to])
		}
		if len(states[i].names) > 0 {
			m.names = append(m.names, states[i].names)
		}
	}
	return m
}

// An agentReading is what an agent says of itself.
type agentReading struct {
	scanner, document, proxy, mailer, webView bool

	provider string // whose open it is

	// Major versions; 0: not claimed.
	chrome, firefox, safari int
}

// read goes through an agent.
func (m *agentMatcher) read(agent string) (found agentReading) {
	at := uint32(0)
	for i := range len(agent) {
		at = m.next[at+uint32(m.class[agent[i]])]
		if at >= m.accepting {
			found.take(m.names[(at-m.accepting)/maxClasses], agent, i)
		}
	}
	return found
}

// take notes the names that end at i, of which the longest comes first.
func (found *agentReading) take(names []agentName, agent string, i int) {
	for j := range names {
		n := &names[j]
		if !n.fits(agent, i) {
			continue
		}
		if n.provider != "" {
			found.provider = n.provider
		}
		switch n.kind {
		case personName:
			return
		case scannerName:
			found.scanner = true
		case documentName:
			found.document = true
		case proxyName:
			found.proxy = true
		case mailerName:
			found.mailer = true
		case webViewName:
			found.webView = true
		case chromeName:
			found.chrome = number(agent[i+1:])
		case firefoxName:
			found.firefox = number(agent[i+1:])
		case safariVersionName:
			found.safari = number(agent[i+1:])
		}
	}
}

// number returns the number that s begins with, or 0. It looks at four digits.
func number(s string) int {
	n := 0
	for i := 0; i < len(s) && i < 4 && '0' <= s[i] && s[i] <= '9'; i++ {
		n = 10*n + int(s[i]-'0')
	}
	return n
}
