// Package pull brings images into the store: from registries, with the logins
// of pull secrets, and from a directory of archives.
package pull
