package aggregate

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/engine/api/openapi"
)

const (
	// describer is who asks for OpenAPI documents.
	describer = "system:aggregator"
	// mostIndex and mostDocument bound the index of the documents of OpenAPI 3, which
	// are handed on when they are asked for, and the document of OpenAPI 2, which is
	// merged into that of the server.
	mostIndex    = 1 << 20
	mostDocument = 4 << 20
)

// documents is what a server said of its group version. It is never changed.
type documents struct {
	// v3 changes with the document of OpenAPI 3; empty: there is none.
	v3 string
	// v2 is what the document of OpenAPI 2 says of the group version, compressed, and
	// sum that of the whole document.
	v2   []byte
	sum  string
	etag string
}

// describe learns how the group version is described.
func (b *backend) describe(ctx context.Context, s *apiregistrationv1.APIService) error {
	next := documents{}
	if had := b.told.Load(); had != nil {
		next = *had
	}
	var err error
	if next.v3, err = b.index(ctx, s); err != nil {
		return err
	}
	if err := b.swagger(ctx, s, &next); err != nil {
		return err
	}
	b.told.Store(&next)
	return nil
}

// index looks up the group version in the index of the documents of OpenAPI 3.
func (b *backend) index(ctx context.Context, s *apiregistrationv1.APIService) (tag string, err error) {
	got, err := b.ask(ctx, s, question{path: "/openapi/v3", accept: runtime.ContentTypeJSON, user: describer, most: mostIndex})
	if err != nil || got.status != http.StatusOK {
		return "", err
	}
	var index handler3.OpenAPIV3Discovery
	if err := read(ctx, func() error { return json.Unmarshal(got.body, &index) }); err != nil {
		return "", fmt.Errorf("OpenAPI of %s: %w", b.name, err)
	}
	entry, ok := index.Paths["apis/"+b.version.String()]
	if !ok {
		return "", nil
	}
	// Only what it says of the content counts, and not where that is.
	at, err := url.Parse(entry.ServerRelativeURL)
	if err != nil {
		return "", fmt.Errorf("OpenAPI of %s: %w", b.name, err)
	}
	if hash := at.Query().Get("hash"); len(hash) > 0 && len(hash) <= 128 {
		return hash, nil
	}
	return digest([]byte(entry.ServerRelativeURL)), nil
}

// swagger takes what the document of OpenAPI 2 says of the group version.
func (b *backend) swagger(ctx context.Context, s *apiregistrationv1.APIService, into *documents) error {
	got, err := b.ask(ctx, s, question{path: "/openapi/v2", accept: runtime.ContentTypeJSON, etag: into.etag, user: describer, most: mostDocument})
	if err != nil {
		return err
	}
	switch got.status {
	case http.StatusNotModified:
		return nil
	case http.StatusOK:
	default:
		into.v2, into.sum, into.etag = nil, "", ""
		return nil
	}
	into.etag = got.header.Get("Etag")
	sum := digest(got.body)
	if into.sum == sum {
		return nil
	}
	var out bytes.Buffer
	err = read(ctx, func() error {
		whole := &spec.Swagger{}
		if err := whole.UnmarshalJSON(got.body); err != nil {
			return err
		}
		part := aggregator.FilterSpecByPathsWithoutSideEffects(whole, []string{"/apis/" + b.version.String() + "/"})
		data, err := json.Marshal(part)
		if err != nil {
			return err
		}
		z := gzip.NewWriter(&out)
		if _, err := z.Write(data); err != nil {
			return err
		}
		return z.Close()
	})
	if err != nil {
		return fmt.Errorf("OpenAPI of %s: %w", b.name, err)
	}
	into.v2, into.sum = out.Bytes(), sum
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Documents are what servers say of the group versions that are handed on to them.
func (a *Aggregator) Documents() []openapi.Foreign {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []openapi.Foreign
	for _, b := range a.backends {
		told := b.told.Load()
		s := a.remote(b.version)
		if told == nil || s == nil || !helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available) {
			continue
		}
		f := openapi.Foreign{Path: "apis/" + b.version.String(), Tag: cmp.Or(told.v3, told.sum), V2Tag: told.sum}
		if told.v2 != nil {
			f.V2 = func() ([]byte, error) { return unzip(told.v2) }
		}
		if told.v3 != "" {
			f.V3 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if s := a.remote(b.version); s != nil {
					a.proxy(s, w, r)
					return
				}
				http.NotFound(w, r)
			})
		}
		if f.V2 != nil || f.V3 != nil {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b openapi.Foreign) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

func unzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
