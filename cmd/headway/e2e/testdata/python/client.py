"""Takes python3-kubernetes through the API of a cluster, in a namespace of its own."""

import json
import tempfile
import time

from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError
from kubernetes.stream import portforward, stream

NS = "python"
IMAGE = "headway.dev/test/busybox:1"

config.load_kube_config()
api = client.ApiClient()
core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()
dynamic = DynamicClient(api)


def same(what, got, want):
    assert got == want, f"{what}: {got!r}, want {want!r}"


def refused(status, reason, do):
    """Fails unless do is refused with the status and the reason."""
    try:
        do()
    except ApiException as e:
        same("status", (e.status, json.loads(e.body)["reason"]), (status, reason))
        return json.loads(e.body)["message"]
    raise AssertionError(f"not refused: want {status} {reason}")


def config_map(name, data=None, **meta):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, **meta), data=data)


def pod(name, script, **spec):
    container = client.V1Container(name="box", image=IMAGE, command=["sh", "-c", script])
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels={"app": name}),
        spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=0, **spec),
    )


def until(call, check, **selectors):
    """Watches until an object passes the check, from a list on, as a controller does."""
    listed = call(NS, **selectors)
    for item in listed.items:
        if check("ADDED", item):
            return item
    w = watch.Watch()
    version = listed.metadata.resource_version
    for event in w.stream(call, NS, resource_version=version, timeout_seconds=60, **selectors):
        if check(event["type"], event["object"]):
            w.stop()
            return event["object"]
    raise AssertionError(f"not seen within a minute: {selectors}")


def apply(resource, body, manager, **options):
    """Server-side apply. This version of the client sends only text as it is."""
    return resource.server_side_apply(
        body=json.dumps(body), name=body["metadata"]["name"], namespace=NS, field_manager=manager, **options
    )


def phase(name, want):
    return until(core.list_namespaced_pod, lambda _, p: p.status.phase == want, field_selector=f"metadata.name={name}")


def about():
    assert client.VersionApi().get_code().git_version.startswith("v1.37.")
    groups = {g.name for g in client.ApisApi().get_api_versions().groups}
    assert {"apps", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= groups, groups
    assert any(r.name == "pods/exec" for r in core.get_api_resources().resources)
    node = core.list_node().items[0]
    same("node", node.metadata.name, "node-1")
    assert node.status.node_info.kubelet_version
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="create", resource="pods", namespace=NS)
        )
    )
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed


def lists():
    for i in range(5):
        core.create_namespaced_config_map(NS, config_map(f"list-{i}", {"n": str(i)}, labels={"list": str(i % 2)}))
    page = core.list_namespaced_config_map(NS, limit=2, label_selector="list")
    assert page.metadata.remaining_item_count is None or page.metadata.remaining_item_count >= 3
    names, token = [m.metadata.name for m in page.items], page.metadata._continue
    while token:
        page = core.list_namespaced_config_map(NS, limit=2, label_selector="list", _continue=token)
        names, token = names + [m.metadata.name for m in page.items], page.metadata._continue
    same("pages", names, [f"list-{i}" for i in range(5)])
    same("selected", len(core.list_namespaced_config_map(NS, label_selector="list in (1)").items), 2)
    named = core.list_config_map_for_all_namespaces(field_selector=f"metadata.namespace={NS},metadata.name=list-3")
    same("selected by fields", [m.data for m in named.items], [{"n": "3"}])
    same("from the cache", len(core.list_namespaced_config_map(NS, resource_version="0", label_selector="list").items), 5)
    core.delete_collection_namespaced_config_map(NS, label_selector="list=0")
    same("left", len(core.list_namespaced_config_map(NS, label_selector="list").items), 2)


def watches():
    version = core.list_namespaced_config_map(NS).metadata.resource_version
    core.create_namespaced_config_map(NS, config_map("watched", {"a": "1"}))
    core.patch_namespaced_config_map("watched", NS, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", NS)
    events = []
    w = watch.Watch()
    for event in w.stream(
        core.list_namespaced_config_map, NS, resource_version=version, timeout_seconds=6, allow_watch_bookmarks=True
    ):
        if event["type"] == "BOOKMARK":
            assert set(event["raw_object"]["metadata"]) <= {"resourceVersion", "creationTimestamp", "annotations"}, event
            assert int(event["raw_object"]["metadata"]["resourceVersion"]) >= int(version), event
        else:
            same("type", type(event["object"]), client.V1ConfigMap)
        events.append(event["type"])
    same("events, until the timeout ends the watch", [e for e in events if e != "BOOKMARK"], ["ADDED", "MODIFIED", "DELETED"])
    same("the watch's end", events[-1], "BOOKMARK")
    # From no version: what there is, first.
    core.create_namespaced_config_map(NS, config_map("there"))
    for event in watch.Watch().stream(core.list_namespaced_config_map, NS, field_selector="metadata.name=there", timeout_seconds=1):
        same("what there is", (event["type"], event["object"].metadata.name), ("ADDED", "there"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    for event in maps.watch(namespace=NS, field_selector="metadata.name=there", resource_version=0, timeout=1):
        same("the dynamic client", (event["type"], event["object"].metadata.name), ("ADDED", "there"))


def writes():
    made = core.create_namespaced_config_map(NS, config_map(None, {"a": "1"}, generate_name="made-"), field_manager="py")
    name = made.metadata.name
    assert name.startswith("made-") and len(name) == len("made-") + 5, name
    same("manager", made.metadata.managed_fields[0].manager, "py")
    refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NS, config_map(name)))
    core.create_namespaced_config_map(NS, config_map("dry"), dry_run="All")
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("dry", NS))
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map(name, NS, made)
    same("replaced", replaced.data, {"a": "1", "b": "2"})
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map(name, NS, made))
    patched = core.patch_namespaced_config_map(name, NS, [{"op": "remove", "path": "/data/a"}])
    same("patched by JSON", patched.data, {"b": "2"})
    message = refused(422, "Invalid", lambda: core.patch_namespaced_config_map(name, NS, {"metadata": {"labels": {"a b": "c"}}}))
    assert "metadata.labels" in message, message

    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    merged = maps.patch(
        body={"data": {"b": None, "c": "3"}}, name=name, namespace=NS, content_type="application/merge-patch+json"
    )
    same("merged", merged.to_dict()["data"], {"c": "3"})
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "1"}}
    apply(maps, applied, "one")
    applied["data"]["x"] = "2"
    try:
        apply(maps, applied, "two")
    except ConflictError as e:
        assert 'conflict with "one": .data.x' in e.summary(), e.summary()
    else:
        raise AssertionError("no conflict")
    got = apply(maps, applied, "two", force_conflicts=True)
    same("applied by force", got.data.x, "2")

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(
            "apiVersion: v1\nkind: Secret\nmetadata: {name: from-yaml}\nstringData: {key: value}\n"
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: from-yaml}\n"
            "spec: {selector: {app: box}, ports: [{port: 80, targetPort: 8080}]}\n"
        )
        file.flush()
        utils.create_from_yaml(api, file.name, namespace=NS)
    same("secret", core.read_namespaced_secret("from-yaml", NS).data, {"key": "dmFsdWU="})
    assert core.read_namespaced_service("from-yaml", NS).spec.cluster_ip


def containers():
    core.create_namespaced_pod(
        NS, pod("box", "echo first; echo second; mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www")
    )
    box = phase("box", "Running")
    assert box.status.pod_ip and box.status.container_statuses[0].state.running.started_at.tzinfo, box.status
    same("log", core.read_namespaced_pod_log("box", NS, container="box"), "first\nsecond\n")
    same("tail", core.read_namespaced_pod_log("box", NS, tail_lines=1, timestamps=True).split(" ")[1], "second\n")

    def run(script, **options):
        return stream(
            core.connect_get_namespaced_pod_exec, "box", NS, container="box", command=["sh", "-c", script],
            stderr=True, stdout=True, tty=False, **{"stdin": False, **options},
        )

    same("exec", run("echo out; hostname"), "out\nbox\n")
    shell = run("read line; echo heard $line; echo problem >&2; exit 7", stdin=True, _preload_content=False)
    shell.write_stdin("you\n")
    shell.run_forever(timeout=30)
    same("exec with input", (shell.read_stdout(), shell.read_stderr(), shell.returncode), ("heard you\n", "problem\n", 7))
    try:
        stream(core.connect_get_namespaced_pod_exec, "absent", NS, command=["true"])
    except ApiException as e:
        assert "404" in str(e.reason), e
    else:
        raise AssertionError("a command ran in a pod that is not there")

    socket = portforward(core.connect_get_namespaced_pod_portforward, "box", NS, ports="8080").socket(8080)
    socket.setblocking(True)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while not answer.endswith(b"here\n"):
        data = socket.recv(4096)
        assert data, answer
        answer += data
    same("the Service's proxy", core.connect_get_namespaced_service_proxy_with_path("from-yaml", NS, "index.html"), "here\n")

    core.create_namespaced_pod(NS, pod("brief", "for i in 1 2 3; do echo tick $i; sleep 0.3; done", restart_policy="Never"))
    until(core.list_namespaced_pod, lambda _, p: p.status.phase in ("Running", "Succeeded"), field_selector="metadata.name=brief")
    lines = list(watch.Watch().stream(core.read_namespaced_pod_log, "brief", NS))
    same("followed to the end", lines, ["tick 1", "tick 2", "tick 3"])
    phase("brief", "Succeeded")
    same("events", "Started" in {e.reason for e in core.list_namespaced_event(NS, field_selector="involvedObject.name=brief").items}, True)
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name="box"))
    core.create_namespaced_pod_eviction("box", NS, eviction)
    gone("the evicted pod", lambda: core.read_namespaced_pod("box", NS))


def deployments():
    def create(name):
        template = pod(name, "exec sleep 3600")
        template.metadata.name = None
        spec = client.V1DeploymentSpec(
            replicas=1, selector=client.V1LabelSelector(match_labels={"app": name}),
            template=client.V1PodTemplateSpec(metadata=template.metadata, spec=template.spec),
        )
        return apps.create_namespaced_deployment(NS, client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec))

    def sets(name):
        return apps.list_namespaced_replica_set(NS, label_selector=f"app={name}").items

    def pods(name):
        return core.list_namespaced_pod(NS, label_selector=f"app={name}").items

    for name in ("background", "foreground", "orphan"):
        create(name)
    for name in ("background", "foreground", "orphan"):
        until(apps.list_namespaced_deployment, lambda _, d: d.status.available_replicas == 1, field_selector=f"metadata.name={name}")
    # A strategic patch adds to the lists that are merged by name.
    env = {"containers": [{"name": "box", "env": [{"name": "A", "value": "1"}]}]}
    patched = apps.patch_namespaced_deployment("background", NS, {"spec": {"template": {"spec": env}}})
    same("patched strategically", patched.spec.template.spec.containers[0].image, IMAGE)
    scale = apps.patch_namespaced_deployment_scale("background", NS, {"spec": {"replicas": 2}})
    same("scale", (scale.kind, scale.spec.replicas), ("Scale", 2))
    until(apps.list_namespaced_deployment, lambda _, d: d.status.updated_replicas == 2 and d.status.available_replicas == 2,
          field_selector="metadata.name=background")

    apps.delete_namespaced_deployment("orphan", NS, propagation_policy="Orphan")
    until(apps.list_namespaced_replica_set, lambda _, r: not r.metadata.owner_references, label_selector="app=orphan")
    same("pods of the orphan", len(pods("orphan")), 1)
    apps.delete_namespaced_deployment("foreground", NS, body=client.V1DeleteOptions(propagation_policy="Foreground"))
    gone("deployment foreground", lambda: apps.read_namespaced_deployment("foreground", NS))
    same("left of foreground", (len(sets("foreground")), len(pods("foreground"))), (0, 0))
    apps.delete_namespaced_deployment("background", NS, propagation_policy="Background")
    gone("deployment background", lambda: apps.read_namespaced_deployment("background", NS))
    while pods("background"):
        time.sleep(0.1)


def gone(what, read):
    for _ in range(600):
        try:
            read()
        except ApiException as e:
            same(what, e.status, 404)
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} is still there")


def custom_resources():
    group, plural = "python.example.com", "snakes"
    spec = {"type": "object", "required": ["length"], "properties": {
        "length": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "green"}}}
    status = {"type": "object", "properties": {"phase": {"type": "string"}, "length": {"type": "integer"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}
    scaled = {"specReplicasPath": ".spec.length", "statusReplicasPath": ".status.length"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": "snake", "kind": "Snake"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema,
                               "subresources": {"status": {}, "scale": scaled}}]},
    }
    extensions = client.ApiextensionsV1Api()
    extensions.create_custom_resource_definition(definition)
    w = watch.Watch()
    for event in w.stream(extensions.list_custom_resource_definition, field_selector=f"metadata.name={plural}.{group}", timeout_seconds=60):
        conditions = event["object"].status and event["object"].status.conditions or []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            w.stop()
    at = (group, "v1", NS, plural)

    def snake(name, **spec):
        return {"apiVersion": f"{group}/v1", "kind": "Snake", "metadata": {"name": name}, "spec": spec}

    made = custom.create_namespaced_custom_object(*at, snake("adder", length=3))
    same("defaults", made["spec"], {"length": 3, "color": "green"})
    message = refused(422, "Invalid", lambda: custom.create_namespaced_custom_object(*at, snake("none", length=0)))
    assert "spec.length: Invalid value" in message, message
    patched = custom.patch_namespaced_custom_object(*at, "adder", {"spec": {"color": "red"}})
    same("patched", (patched["spec"], patched["metadata"]["generation"]), ({"length": 3, "color": "red"}, 2))
    patched = custom.patch_namespaced_custom_object_status(*at, "adder", {"status": {"phase": "Ready"}, "spec": {"color": "blue"}})
    same("status", (patched["spec"]["color"], patched["status"]), ("red", {"phase": "Ready"}))
    custom.patch_namespaced_custom_object_scale(*at, "adder", {"spec": {"replicas": 5}})
    patched["spec"] = {"length": 4}
    refused(409, "Conflict", lambda: custom.replace_namespaced_custom_object(*at, "adder", patched))
    same("scaled", custom.get_namespaced_custom_object(*at, "adder")["spec"]["length"], 5)

    # What is served is listed a moment later: Established does not say that it is.
    deadline = time.monotonic() + 60
    while not any(g.name == group for g in client.ApisApi().get_api_versions().groups):
        assert time.monotonic() < deadline, "the group is not listed"
    dynamic.resources.invalidate_cache()
    snakes = dynamic.resources.get(api_version=f"{group}/v1", kind="Snake")
    snakes.create(body=snake("boa", length=9), namespace=NS)
    same("dynamic", snakes.get(name="boa", namespace=NS).spec.length, 9)
    apply(snakes, snake("cobra", length=2), "py")
    same("all", [s["metadata"]["name"] for s in custom.list_cluster_custom_object(group, "v1", plural)["items"]], ["adder", "boa", "cobra"])
    version = snakes.get(namespace=NS).metadata.resourceVersion
    snakes.delete(name="boa", namespace=NS)
    for event in watch.Watch().stream(custom.list_namespaced_custom_object, *at, resource_version=version, timeout_seconds=1):
        same("watched", (event["type"], event["object"]["metadata"]["name"]), ("DELETED", "boa"))
    custom.delete_collection_namespaced_custom_object(*at)
    same("after all", custom.list_namespaced_custom_object(*at)["items"], [])
    extensions.delete_custom_resource_definition(f"{plural}.{group}")


def service_accounts():
    """A program with a token of its own may do what its roles say."""
    core.create_namespaced_service_account(NS, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)) \
        if hasattr(client, "AuthenticationV1TokenRequest") else {"spec": {"expirationSeconds": 600}}
    token = core.create_namespaced_service_account_token("robot", NS, request).status.token
    ours = client.Configuration.get_default_copy()
    ours.cert_file = ours.key_file = None
    ours.api_key = {"authorization": "Bearer " + token}
    robot = client.CoreV1Api(client.ApiClient(ours))
    message = refused(403, "Forbidden", lambda: robot.list_namespaced_pod(NS))
    same("message", message, f'pods is forbidden: User "system:serviceaccount:{NS}:robot" cannot list resource "pods" '
         f'in API group "" in the namespace "{NS}"')
    rbac = client.RbacAuthorizationV1Api()
    rbac.create_namespaced_role(NS, client.V1Role(
        metadata=client.V1ObjectMeta(name="robot"), rules=[client.V1PolicyRule(api_groups=[""], resources=["pods"], verbs=["list"])]))
    rbac.create_namespaced_role_binding(NS, {
        "metadata": {"name": "robot"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "robot"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NS}]})
    robot.list_namespaced_pod(NS)


core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NS)))
for part in (about, lists, watches, writes, containers, deployments, custom_resources, service_accounts):
    begin = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - begin:.1f}s")
core.delete_namespace(NS)
gone("the namespace", lambda: core.read_namespace(NS))
print("done")
