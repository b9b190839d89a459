package nodetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ToolImage is the name under which Start imports Image(tb, ImageOptions{}).
const ToolImage = "headway.dev/test/tool:1"

// ImageOptions is what differs between test images.
type ImageOptions struct {
	User       string
	Cmd        []string
	StopSignal string
	// Busybox adds /bin/busybox with its commands.
	Busybox bool
	// Instead are files that the image has at these names in place of the usual
	// ones, as regular files of zeros.
	Instead []tar.Header
}

// tool compiles the test program once for each test process.
var tool = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "headway-tool-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tool")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "headway.dev/nodes/nodetest/tool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the test program: %w: %s", err, out)
	}
	return os.ReadFile(path)
})

// Image builds an image with the test program at /tool as its entrypoint.
func Image(tb testing.TB, opts ImageOptions) v1.Image {
	tb.Helper()
	program, err := tool()
	if err != nil {
		tb.Fatal(err)
	}
	files := []file{
		{name: "tool", mode: 0o755, data: program},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1234:2345:app:/:/bin/sh\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\napp:x:2345:\nextra:x:3456:app\n")},
		{name: "tmp/", mode: 0o1777},
	}
	if opts.Busybox {
		files = append(files, busybox(tb)...)
	}
	for _, h := range opts.Instead {
		files = slices.DeleteFunc(files, func(f file) bool { return f.name == h.Name })
		files = append(files, file{name: h.Name, header: &h})
	}
	layer := static.NewLayer(pack(tb, files), types.OCIUncompressedLayer)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.AppendLayers(img, layer)
	if err != nil {
		tb.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goruntime.GOARCH
	config.Config.Entrypoint, config.Config.Cmd, config.Config.User = []string{"/tool"}, opts.Cmd, opts.User
	config.Config.StopSignal = opts.StopSignal
	config.Config.Env = []string{"FROM_IMAGE=yes", "PATH=/bin:/usr/bin"}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		tb.Fatal(err)
	}
	return img
}

func busybox(tb testing.TB) []file {
	tb.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Fatalf("%v: install the package busybox-static", err)
	}
	files := []file{{name: "bin/busybox", mode: 0o755, data: program}}
	for _, cmd := range []string{"sh", "cat", "ls", "echo", "sleep", "ps", "id", "tar", "mount", "nslookup", "wget", "stty"} {
		files = append(files, file{name: "bin/" + cmd, link: "busybox"})
	}
	return files
}

type file struct {
	name, link string
	mode       int64
	data       []byte
	header     *tar.Header // instead of all else
}

func pack(tb testing.TB, files []file) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if f.header != nil {
			h, f.data = f.header, make([]byte, f.header.Size)
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// OCIArchive packs an image as an OCI archive that names it by the annotation
// org.opencontainers.image.ref.name.
func OCIArchive(tb testing.TB, ref string, img v1.Image) []byte {
	tb.Helper()
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: img,
		Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "linux", Architecture: goruntime.GOARCH},
			Annotations: map[string]string{"org.opencontainers.image.ref.name": ref},
		},
	})
	dir := tb.TempDir()
	if _, err := layout.Write(dir, index); err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// DockerArchive packs an image as docker save does, named by RepoTags.
func DockerArchive(tb testing.TB, ref string, img v1.Image) []byte {
	tb.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// Registry is an image registry in the test process, on the loopback, without
// TLS. Requests counts the requests to it.
type Registry struct {
	Host string // host:port
	URL  string
}

// StartRegistry starts a registry that ends with the test. If a login is given,
// it refuses requests without it.
func StartRegistry(tb testing.TB, username, password string) *Registry {
	tb.Helper()
	store := registry.New()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); username != "" && (u != username || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		store.ServeHTTP(w, r)
	}))
	tb.Cleanup(server.Close)
	r := &Registry{Host: strings.TrimPrefix(server.URL, "http://"), URL: server.URL}
	if username != "" {
		r.URL = strings.Replace(r.URL, "http://", "http://"+username+":"+password+"@", 1)
	}
	return r
}

// Push puts an image into the registry and returns its reference.
func (r *Registry) Push(tb testing.TB, repository, tag string, img v1.Image) string {
	tb.Helper()
	layers, err := img.Layers()
	if err != nil {
		tb.Fatal(err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			tb.Fatal(err)
		}
		content, err := l.Compressed()
		if err != nil {
			tb.Fatal(err)
		}
		r.send(tb, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", content)
	}
	digest, err := img.ConfigName()
	if err != nil {
		tb.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	r.send(tb, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", bytes.NewReader(config))
	manifest, err := img.RawManifest()
	if err != nil {
		tb.Fatal(err)
	}
	mediaType, err := img.MediaType()
	if err != nil {
		tb.Fatal(err)
	}
	r.send(tb, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, string(mediaType), bytes.NewReader(manifest))
	return r.Host + "/" + repository + ":" + tag
}

func (r *Registry) send(tb testing.TB, method, path, contentType string, body io.Reader) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, r.URL+path, body)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(resp.Body)
		tb.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
}
