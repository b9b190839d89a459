package wire

import "time"

// Changer is who changed an object whose change was undone, as far as it is
// known: the user who called the API, and the field manager in whose name the
// fields were set.
type Changer struct {
	User    string `json:"user,omitempty"`
	Manager string `json:"manager,omitempty"`
	// Time is when the manager last set one of the fields, or when the user
	// made the request.
	Time time.Time `json:"time,omitzero"`
}

// String returns "USER with MANAGER", or what is known of it.
func (c Changer) String() string {
	switch {
	case c.User == "":
		return c.Manager
	case c.Manager == "":
		return c.User
	}
	return c.User + " with " + c.Manager
}
