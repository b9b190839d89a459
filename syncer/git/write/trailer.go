package write

import (
	"strings"
)

// Trailers are the values of a message's trailers with the given key, in
// order, as `git interpret-trailers` finds them: in the last paragraph, which
// is not the subject, and holds nothing but trailers, or besides one that Git
// itself writes at least one trailer for three other lines. Keys are compared
// without case; a value that goes on in indented lines is joined by spaces.
func Trailers(message, key string) []string {
	var values []string
	open := false
	for _, line := range trailerBlock(strings.Split(message, "\n")) {
		switch name, value, found := cutTrailer(line); {
		case strings.HasPrefix(line, "#"):
		case isIndented(line):
			if open {
				values[len(values)-1] = strings.TrimSpace(values[len(values)-1] + " " + strings.TrimSpace(line))
			}
		case found && strings.EqualFold(name, key):
			values, open = append(values, value), true
		default:
			open = false
		}
	}
	return values
}

// trailerBlock are the lines of the paragraph that holds the trailers.
func trailerBlock(lines []string) []string {
	title := 0
	for title < len(lines) && (strings.HasPrefix(lines[title], "#") || !isBlank(lines[title])) {
		title++
	}
	end := len(lines)
	for end > title && isBlank(lines[end-1]) {
		end--
	}
	var trailers, others, indented int
	byGit := false
	for i := end - 1; i >= title; i-- {
		line := lines[i]
		_, _, found := cutTrailer(line)
		switch {
		case strings.HasPrefix(line, "#"):
			others += indented
			indented = 0
		case isBlank(line):
			others += indented
			if byGit && trailers*3 >= others || trailers > 0 && others == 0 {
				return lines[i+1 : end]
			}
			return nil
		case strings.HasPrefix(line, "Signed-off-by: "), strings.HasPrefix(line, "(cherry picked from commit "):
			trailers++
			indented, byGit = 0, true
		case found:
			trailers++
			indented = 0
		case isIndented(line):
			indented++
		default:
			others += indented + 1
			indented = 0
		}
	}
	return nil
}

// cutTrailer splits "Key: value"; a key has letters, digits and hyphens, and
// may be followed by blanks.
func cutTrailer(line string) (key, value string, found bool) {
	key, value, found = strings.Cut(line, ":")
	key = strings.TrimRight(key, " \t")
	if !found || key == "" || isIndented(line) {
		return "", "", false
	}
	for _, c := range []byte(key) {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "", "", false
		}
	}
	return key, strings.TrimSpace(value), true
}

func isBlank(line string) bool { return strings.TrimSpace(line) == "" }

func isIndented(line string) bool {
	return line != "" && strings.ContainsRune(" \t\r\v\f", rune(line[0]))
}
