package satoken

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Where OpenID Connect has others look for what they need to check tokens
// themselves.
const (
	ConfigurationPath = "/.well-known/openid-configuration"
	KeysPath          = "/openid/v1/jwks"
)

// Configuration is the issuer's discovery document, which says that its keys are
// at a URL.
func (i *Issuer) Configuration(keys string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"issuer":                                URL,
		"jwks_uri":                              keys,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{jwt.SigningMethodES256.Alg()},
	})
}

// Keys is the issuer's public key, as a JSON Web Key Set.
func (i *Issuer) Keys() ([]byte, error) {
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	// An uncompressed point is a byte and two numbers of the same length.
	half := (len(point) - 1) / 2
	number := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	return json.Marshal(map[string]any{"keys": []any{map[string]any{
		"use": "sig", "kty": "EC", "kid": i.id, "crv": i.key.Curve.Params().Name, "alg": jwt.SigningMethodES256.Alg(),
		"x": number(point[1 : 1+half]), "y": number(point[1+half:]),
	}}})
}
