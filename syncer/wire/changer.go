package wire

import "time"

// Changer is who changed an object that was put back: as far as it is known,
// the user who asked the API, and the field manager in whose name the fields
// were set.
type Changer struct {
	User    string `json:"user,omitempty"`
	Manager string `json:"manager,omitempty"`
	// Time is when the manager last set one of the fields, or the user asked.
	Time time.Time `json:"time,omitzero"`
}

// String is "USER with MANAGER", or what is known of that.
func (c Changer) String() string {
	switch {
	case c.User == "":
		return c.Manager
	case c.Manager == "":
		return c.User
	}
	return c.User + " with " + c.Manager
}
