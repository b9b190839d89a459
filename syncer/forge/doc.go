// Package forge reports to GitHub, GitLab and Gitea (and with it Forgejo) the
// outcome of commits, and comments on pull requests.
//
//	New(Config) ──▶ Client.SetStatus   a commit's status under one name
//	            └─▶ Client.Comment     the one comment that has a marker
//
// A Client follows no redirect and hands its token to nobody but the address
// that it was made for; no error holds the token. Errors that may pass are an
// *Error whose Temporary reports true. It is safe for concurrent use.
package forge
