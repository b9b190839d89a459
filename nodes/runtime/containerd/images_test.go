package containerd_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
	"headway.dev/nodes/runtime/containerd"
)

func TestImportAndLookup(t *testing.T) {
	n := nodetest.Start(t)
	img := nodetest.Image(t, nodetest.ImageOptions{User: "1000", Cmd: []string{"exit", "6"}})
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.Import(t.Context(), bytes.NewReader(nodetest.OCIArchive(t, "web:v1", img)))
	if err != nil || len(got) != 1 || got[0].Name != "docker.io/library/web:v1" || got[0].Digest != digest.String() || got[0].User != "1000" || got[0].Size == 0 {
		t.Fatalf("Import = %+v, %v", got, err)
	}
	for _, ref := range []string{"web:v1", "docker.io/web:v1", "docker.io/library/web:v1", "index.docker.io/library/web:v1"} {
		if info, ok, err := n.Image(t.Context(), ref); err != nil || !ok || info.Digest != digest.String() {
			t.Errorf("Image(%q) = %+v, %v, %v", ref, info, ok, err)
		}
	}
	if _, ok, err := n.Image(t.Context(), "web:v2"); ok || err != nil {
		t.Errorf("Image(web:v2) = %v, %v; want not there", ok, err)
	}
	if _, _, err := n.Image(t.Context(), "Not An Image"); err == nil {
		t.Error("Image of an invalid name succeeded")
	}
	c := n.RunConfig(t, nodetest.Sandbox("cmd"), runtime.ContainerConfig{Name: "main", Image: "web:v1"})
	if end := n.WaitExited(t, c); end.ExitCode != 6 || end.ImageID != "docker.io/library/web@"+digest.String() || end.Image != "web:v1" {
		t.Errorf("container of the image's own command = %+v, want exit code 6", end)
	}

	if got, err = n.Import(t.Context(), bytes.NewReader(nodetest.DockerArchive(t, "saved:v3", img))); err != nil || len(got) != 1 || got[0].Name != "docker.io/library/saved:v3" {
		t.Errorf("Import of a Docker archive = %+v, %v", got, err)
	}
	if all, err := n.Images(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("Images = %+v, %v; want 3", all, err)
	}
	for name, archive := range map[string]string{"garbage": "this is no archive", "nothing": ""} {
		if _, err := n.Import(t.Context(), strings.NewReader(archive)); err == nil {
			t.Errorf("Import of %s succeeded", name)
		}
	}
}

func TestPull(t *testing.T) {
	n := nodetest.Start(t)
	reg := nodetest.StartRegistry(t, "", "")
	ref := reg.Push(t, "team/web", "v1", nodetest.Image(t, nodetest.ImageOptions{Cmd: []string{"exit", "8"}}))
	info, err := n.Pull(t.Context(), ref, nil)
	if err != nil || info.Name != ref {
		t.Fatalf("Pull = %+v, %v", info, err)
	}
	if got := n.WaitExited(t, n.RunConfig(t, nodetest.Sandbox("pulled"), runtime.ContainerConfig{Name: "main", Image: ref})); got.ExitCode != 8 {
		t.Errorf("container of the pulled image = %+v, want exit code 8", got)
	}
	byDigest := reg.Host + "/team/web@" + info.Digest
	if got, err := n.Pull(t.Context(), byDigest, nil); err != nil || got.Digest != info.Digest {
		t.Errorf("Pull by digest = %+v, %v", got, err)
	}
	missing := reg.Host + "/team/web:v9"
	_, err = n.Pull(t.Context(), missing, nil)
	want := `failed to pull and unpack image "` + missing + `": failed to resolve reference "` + missing + `"`
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "not found") {
		t.Errorf("Pull of what is not there = %v, want %s: … not found", err, want)
	}
}

func TestPullWithLogin(t *testing.T) {
	n := nodetest.Start(t)
	reg := nodetest.StartRegistry(t, "user", "secret-password")
	ref := reg.Push(t, "private", "v1", nodetest.Image(t, nodetest.ImageOptions{}))
	for _, logins := range [][]runtime.Auth{nil, {{Username: "user", Password: "wrong-password"}}} {
		if _, err := n.Pull(t.Context(), ref, logins); err == nil || strings.Contains(err.Error(), "wrong-password") {
			t.Errorf("Pull with %d logins that do not fit = %v, want an error without the password", len(logins), err)
		}
	}
	info, err := n.Pull(t.Context(), ref, []runtime.Auth{{Username: "other", Password: "x"}, {Username: "user", Password: "secret-password"}})
	if err != nil || info.Name != ref {
		t.Errorf("Pull = %+v, %v", info, err)
	}
}

// TestImportByAnother: what another process imports is announced once it is
// there, so that the pods that wait for it are looked at.
func TestImportByAnother(t *testing.T) {
	n := nodetest.Start(t)
	archive := nodetest.OCIArchive(t, "web:v9", nodetest.Image(t, nodetest.ImageOptions{}))
	if _, err := containerd.ImportInto(t.Context(), n.Config, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e := <-n.Events():
			if e.PodUID != "" {
				continue
			}
			if _, ok, err := n.Image(t.Context(), "web:v9"); err != nil || !ok {
				t.Errorf("Image(web:v9) = %v, %v; want it there", ok, err)
			}
			return
		case <-timeout:
			t.Fatal("the import was not announced")
		}
	}
}
