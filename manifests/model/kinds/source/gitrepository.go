package source

import (
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/kind"
)

var gitRepository = kind.Define[sourcev1.GitRepository, sourcev1.GitRepositoryList](kind.Definition[*sourcev1.GitRepository]{
	Names: kind.Names{
		GroupVersionKind: sourcev1.GroupVersion.WithKind("GitRepository"),
		Plural:           "gitrepositories", Singular: "gitrepository",
		ShortNames: []string{"gitrepo"}, Namespaced: true,
	},
	Status: true,
})
