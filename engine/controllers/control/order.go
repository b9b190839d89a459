package control

// TrueFirst orders what something is true of before the rest; it compares as cmp.Compare
// does.
func TrueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
