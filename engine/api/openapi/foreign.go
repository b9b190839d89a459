package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/manifests/guard"
)

// Foreign describes a group version that another server serves.
type Foreign struct {
	// Path is that of the group version: apis/GROUP/VERSION.
	Path string
	// Tag and V2Tag change with the documents.
	Tag, V2Tag string
	// V2 returns its document of OpenAPI 2; nil: there is none.
	V2 func() ([]byte, error)
	// V3 serves its document of OpenAPI 3; nil: it is made from that of V2.
	V3 http.Handler
}

// foreignAt returns what another server serves at a path.
func (c *custom) foreignAt(path string) (Foreign, bool) {
	list := c.foreign()
	i := slices.IndexFunc(list, func(f Foreign) bool { return f.Path == path })
	if i < 0 {
		return Foreign{}, false
	}
	return list[i], true
}

// converted is the document of OpenAPI 3 that is made from one of OpenAPI 2, which
// loses some of it.
func (c *custom) converted(f Foreign) *document {
	return c.document(f.Path, f.Tag, func() *document {
		return &document{protoType: protoTypeV3, tag: f.Tag, toProto: handler3.ToV3ProtoBinary, build: func() ([]byte, error) {
			doc, err := f.swagger()
			if err != nil {
				return nil, err
			}
			return json.Marshal(openapiconv.ConvertV2ToV3(doc))
		}}
	})
}

func (f Foreign) swagger() (*spec.Swagger, error) {
	data, err := f.V2()
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", f.Path, err)
	}
	doc := &spec.Swagger{}
	if err := doc.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("describe %s: %w", f.Path, err)
	}
	return doc, nil
}

// mergeForeign adds what other servers say. What does not fit is left out: they may
// say anything.
func (c *custom) mergeForeign(into *spec.Swagger, list []Foreign) {
	for _, f := range list {
		if f.V2 == nil {
			continue
		}
		err := guard.Call(context.Background(), "describe "+f.Path, func() error {
			doc, err := f.swagger()
			if err != nil || doc.Paths == nil {
				return err
			}
			// What cannot be encoded would take the whole document along for all who ask
			// for protobuf.
			data, err := json.Marshal(doc)
			if err != nil {
				return err
			}
			if _, err := handler.ToProtoBinary(data); err != nil {
				return err
			}
			return aggregator.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(into, doc)
		})
		if err != nil {
			c.log.Error("What another server serves is left out of /openapi/v2", "path", f.Path, "error", err)
		}
	}
}
