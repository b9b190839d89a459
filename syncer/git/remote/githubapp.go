package remote

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// appTokenSpare is how long before its end a token is not used any more:
	// longer than a fetch may take.
	appTokenSpare = 5 * time.Minute
	// maxAppAnswer bounds an answer of GitHub's API, in bytes.
	maxAppAnswer = 1 << 20
	githubAPI    = "https://api.github.com"
)

// App is the installation of a GitHub App, whose tokens are used as passwords.
type App struct {
	ID string
	// Installation is the installation's number; if it is not set, the one of
	// the organisation or user Owner is looked up.
	Installation, Owner string
	// BaseURL is the URL of the API (default GitHub's own).
	BaseURL string
	key     *rsa.PrivateKey
	print   [sha256.Size]byte // of all of it
}

// AppFromSecret reads the data of a Secret under Flux's names. remote is the
// URL that the App's tokens are for; they are only sent over https.
func AppFromSecret(remote string, data map[string][]byte) (*App, error) {
	if !strings.HasPrefix(remote, "https://") {
		return nil, errors.New("a GitHub App needs an https URL")
	}
	get := func(name string) string { return strings.TrimSpace(string(data[name])) }
	a := &App{
		ID: get("githubAppID"), Installation: get("githubAppInstallationID"), Owner: get("githubAppInstallationOwner"),
		BaseURL: strings.TrimSuffix(get("githubAppBaseURL"), "/"),
	}
	switch {
	case a.ID == "":
		return nil, errors.New("'githubAppID' is required")
	case a.Installation == "" && a.Owner == "":
		return nil, errors.New("'githubAppInstallationID' or 'githubAppInstallationOwner' is required")
	case a.Installation != "" && !digits(a.Installation):
		return nil, errors.New("'githubAppInstallationID' is not a number")
	}
	if a.BaseURL == "" {
		a.BaseURL = githubAPI
	}
	if u, err := url.Parse(a.BaseURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("'githubAppBaseURL' is not the URL of an API")
	}
	block, _ := pem.Decode(data["githubAppPrivateKey"])
	if block == nil {
		return nil, errors.New("'githubAppPrivateKey' is not a PEM private key")
	}
	var err error
	if a.key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
		key, perr := x509.ParsePKCS8PrivateKey(block.Bytes)
		rsaKey, ok := key.(*rsa.PrivateKey)
		if perr != nil || !ok {
			return nil, errors.New("'githubAppPrivateKey' is not an RSA private key")
		}
		a.key = rsaKey
	}
	a.print = sha256.Sum256([]byte(strings.Join([]string{a.ID, a.Installation, a.Owner, a.BaseURL, string(block.Bytes)}, "\n")))
	return a, nil
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// appToken is a token and the App it is of.
type appToken struct {
	value string
	until time.Time
	app   [sha256.Size]byte
}

// appToken is a token that is good for a while yet, asked for if there is none.
func (l *link) appToken(ctx context.Context, c *http.Client, app *App) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token.app == app.print && time.Now().Before(l.token.until) {
		return l.token.value, nil
	}
	value, until, err := app.token(ctx, c, time.Now())
	if err != nil {
		return "", fmt.Errorf("get a token of GitHub App %s: %w", app.ID, err)
	}
	l.token = appToken{value: value, until: until.Add(-appTokenSpare), app: app.print}
	return value, nil
}

// forgetToken makes the next use ask for a new one: it may have been revoked.
func (l *link) forgetToken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = appToken{}
}

// jwt is the App's own token, which is good for its API for ten minutes.
func (a *App) jwt(now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{
		"iat": now.Add(-time.Minute).Unix(), // GitHub's clock may be behind
		"exp": now.Add(9 * time.Minute).Unix(),
		"iss": a.ID,
	})
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + enc.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign with 'githubAppPrivateKey': %w", err)
	}
	return text + "." + enc.EncodeToString(sig), nil
}

// token asks for a token of the installation.
func (a *App) token(ctx context.Context, c *http.Client, now time.Time) (string, time.Time, error) {
	jwt, err := a.jwt(now)
	if err != nil {
		return "", time.Time{}, err
	}
	// Never to another host: the JWT would go with it.
	direct := *c
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	id := a.Installation
	if id == "" {
		if id, err = a.installation(ctx, &direct, jwt); err != nil {
			return "", time.Time{}, err
		}
	}
	var out struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	status, err := a.call(ctx, &direct, http.MethodPost, "/app/installations/"+id+"/access_tokens", jwt, &out)
	switch {
	case err != nil:
		return "", time.Time{}, err
	case status != http.StatusCreated || out.Token == "":
		return "", time.Time{}, fmt.Errorf("the API answers %d for installation %s: check githubAppID, githubAppInstallationID and githubAppPrivateKey in the secret", status, id)
	}
	return out.Token, out.Expires, nil
}

// installation looks up the number of the owner's installation.
func (a *App) installation(ctx context.Context, c *http.Client, jwt string) (string, error) {
	var out struct {
		ID uint64 `json:"id"`
	}
	for _, kind := range []string{"orgs", "users"} {
		status, err := a.call(ctx, c, http.MethodGet, "/"+kind+"/"+url.PathEscape(a.Owner)+"/installation", jwt, &out)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusOK && out.ID != 0:
			return strconv.FormatUint(out.ID, 10), nil
		case status != http.StatusNotFound:
			return "", fmt.Errorf("the API answers %d when asked for the installation of %s: check githubAppID and githubAppPrivateKey in the secret", status, a.Owner)
		}
	}
	return "", fmt.Errorf("the App is not installed for %s", a.Owner)
}

func (a *App) call(ctx context.Context, c *http.Client, method, path, jwt string, out any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.BaseURL+path, nil)
	if err != nil {
		return 0, errors.New("'githubAppBaseURL' is not the URL of an API")
	}
	req.Header.Set("Authorization", "Bearer "+jwt)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return res.StatusCode, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAppAnswer)).Decode(out); err != nil {
		return 0, fmt.Errorf("read the API's answer: %w", err)
	}
	return res.StatusCode, nil
}
