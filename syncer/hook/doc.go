// Package hook reads the webhooks that Git servers send after a push. It is
// pure: bytes and headers in, a verdict out.
//
//	body, header, secret ─▶ Verify ─▶ Refs ─▶ which references were pushed
//
// Verify comes first: nothing of a body is parsed before it is known to come
// from somebody who knows the secret.
package hook
