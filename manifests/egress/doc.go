// Package egress decides which addresses may not be reached on behalf of users
// who write sources or webhooks: they choose a URL, and this machine may reach
// more than they do. The address that is dialled counts, whatever name, redirect
// or proxy led there.
package egress
