// Takes @kubernetes/client-node through the API of a cluster, in a namespace of
// its own.
import assert from 'node:assert/strict';
import net from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = 'javascript';
const image = 'headway.dev/test/busybox:1';

const kc = new k8s.KubeConfig();
kc.loadFromDefault();
const core = kc.makeApiClient(k8s.CoreV1Api);
const apps = kc.makeApiClient(k8s.AppsV1Api);
const custom = kc.makeApiClient(k8s.CustomObjectsApi);
const objects = k8s.KubernetesObjectApi.makeApiClient(kc);
const maps = `/api/v1/namespaces/${namespace}/configmaps`;

const as = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);
const configMap = (name, data, metadata) => ({ metadata: { name, ...metadata }, data });

// refused fails unless the promise is refused with the code and the reason.
async function refused(code, reason, promise) {
  const error = await promise.then(() => assert.fail(`not refused: want ${code} ${reason}`), (e) => e);
  assert(error instanceof k8s.ApiException, error);
  const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
  assert.deepEqual([error.code, status.reason], [code, reason]);
  return status.message;
}

// until lists, and watches from there until an object passes the check.
async function until(path, list, check, fieldSelector) {
  const listed = await list({ namespace, fieldSelector });
  for (const item of listed.items) if (check('ADDED', item)) return item;
  return new Promise((resolve, reject) => {
    let found;
    const query = { fieldSelector, resourceVersion: listed.metadata.resourceVersion, timeoutSeconds: 60 };
    const watching = new k8s.Watch(kc).watch(path, query, (type, object) => {
      if (found || !check(type, object)) return;
      found = object;
      watching.then((controller) => controller.abort());
    }, (error) => (found ? resolve(found) : reject(error ?? new Error(`not seen within a minute: ${path} ${fieldSelector}`))));
    watching.catch(reject);
  });
}

const pods = `/api/v1/namespaces/${namespace}/pods`;
const listPods = (query) => core.listNamespacedPod(query);
const phase = (name, want) => until(pods, listPods, (_, pod) => pod.status.phase === want, `metadata.name=${name}`);

// text collects what is written to a stream.
function text() {
  const stream = new PassThrough();
  const parts = [];
  stream.on('data', (data) => parts.push(data));
  stream.text = () => Buffer.concat(parts).toString();
  return stream;
}

function podSpec(script, spec) {
  return { terminationGracePeriodSeconds: 0, containers: [{ name: 'box', image, command: ['sh', '-c', script] }], ...spec };
}

async function about() {
  const version = await kc.makeApiClient(k8s.VersionApi).getCode();
  assert.match(version.gitVersion, /^v1\.37\./);
  const groups = await kc.makeApiClient(k8s.ApisApi).getAPIVersions();
  assert(groups.groups.some((group) => group.name === 'apiextensions.k8s.io'));
  const nodes = await core.listNode();
  assert.equal(nodes.items[0].metadata.name, 'node-1');
  const review = { spec: { resourceAttributes: { verb: 'create', resource: 'pods', namespace } } };
  const answer = await kc.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({ body: review });
  assert(answer.status.allowed);
  assert(nodes.items[0].metadata.creationTimestamp instanceof Date);
}

async function lists() {
  for (let i = 0; i < 5; i++) {
    await core.createNamespacedConfigMap({ namespace, body: configMap(`list-${i}`, { n: `${i}` }, { labels: { list: `${i % 2}` } }) });
  }
  const names = [];
  let _continue;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, limit: 2, labelSelector: 'list', _continue });
    names.push(...page.items.map((item) => item.metadata.name));
    _continue = page.metadata._continue;
  } while (_continue);
  assert.deepEqual(names, ['list-0', 'list-1', 'list-2', 'list-3', 'list-4']);
  const one = await core.listConfigMapForAllNamespaces({ fieldSelector: `metadata.namespace=${namespace},metadata.name=list-3` });
  assert.deepEqual(one.items.map((item) => item.data), [{ n: '3' }]);
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'list=0' });
  assert.equal((await core.listNamespacedConfigMap({ namespace, labelSelector: 'list' })).items.length, 2);
}

async function watches() {
  const { metadata: { resourceVersion } } = await core.listNamespacedConfigMap({ namespace });
  await core.createNamespacedConfigMap({ namespace, body: configMap('watched', { a: '1' }) });
  await core.patchNamespacedConfigMap({ name: 'watched', namespace, body: { data: { a: '2' } } }, as(k8s.PatchStrategy.MergePatch));
  await core.deleteNamespacedConfigMap({ name: 'watched', namespace });
  const events = [];
  await new Promise((resolve, reject) => {
    const query = { resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 6 };
    new k8s.Watch(kc).watch(maps, query, (type, object) => {
      if (type === 'BOOKMARK') assert(Number(object.metadata.resourceVersion) >= Number(resourceVersion));
      events.push(type);
    }, (error) => (error && error !== k8s.Watch.SERVER_SIDE_CLOSE ? reject(error) : resolve())).catch(reject);
  });
  assert.deepEqual(events.filter((type) => type !== 'BOOKMARK'), ['ADDED', 'MODIFIED', 'DELETED']);
  assert.equal(events.at(-1), 'BOOKMARK');
}

async function informers() {
  const informer = k8s.makeInformer(kc, maps, () => core.listNamespacedConfigMap({ namespace }));
  const seen = [];
  let wake = () => {};
  for (const verb of [k8s.ADD, k8s.UPDATE, k8s.DELETE]) {
    informer.on(verb, (object) => {
      if (object.metadata.name === 'informed') seen.push(`${verb} ${object.data.a}`);
      wake();
    });
  }
  // Its own end is told as an error, too.
  informer.on(k8s.ERROR, (error) => { if (error?.type !== 'aborted') throw error; });
  const sees = async (what) => {
    while (!seen.includes(what)) await new Promise((resolve) => { wake = resolve; });
  };
  await informer.start();
  assert(informer.get('list-1', namespace));
  await core.createNamespacedConfigMap({ namespace, body: configMap('informed', { a: '1' }) });
  await sees('add 1');
  await core.patchNamespacedConfigMap({ name: 'informed', namespace, body: { data: { a: '2' } } }, as(k8s.PatchStrategy.MergePatch));
  await sees('update 2');
  assert.equal(informer.get('informed', namespace).data.a, '2');
  await core.deleteNamespacedConfigMap({ name: 'informed', namespace });
  await sees('delete 2');
  await informer.stop();
}

async function writes() {
  const made = await core.createNamespacedConfigMap({ namespace, body: configMap(undefined, { a: '1' }, { generateName: 'made-' }), fieldManager: 'js' });
  const { name } = made.metadata;
  assert.match(name, /^made-[a-z0-9]{5}$/);
  assert.equal(made.metadata.managedFields[0].manager, 'js');
  await refused(409, 'AlreadyExists', core.createNamespacedConfigMap({ namespace, body: configMap(name) }));
  await core.createNamespacedConfigMap({ namespace, body: configMap('dry'), dryRun: 'All' });
  await refused(404, 'NotFound', core.readNamespacedConfigMap({ name: 'dry', namespace }));
  made.data.b = '2';
  // The times of managedFields come back as this client writes them.
  const replaced = await core.replaceNamespacedConfigMap({ name, namespace, body: made });
  assert.deepEqual(replaced.data, { a: '1', b: '2' });
  await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ name, namespace, body: made }));

  const patch = async (strategy, body) => (await core.patchNamespacedConfigMap({ name, namespace, body }, as(strategy))).data;
  assert.deepEqual(await patch(k8s.PatchStrategy.JsonPatch, [{ op: 'remove', path: '/data/a' }]), { b: '2' });
  assert.deepEqual(await patch(k8s.PatchStrategy.MergePatch, { data: { b: null, c: '3' } }), { c: '3' });
  assert.deepEqual(await patch(k8s.PatchStrategy.StrategicMergePatch, { data: { d: '4' } }), { c: '3', d: '4' });

  const apply = (manager, x, force) => core.patchNamespacedConfigMap({
    name: 'applied', namespace, fieldManager: manager, force,
    body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data: { x } },
  }, as(k8s.PatchStrategy.ServerSideApply));
  await apply('one', '1');
  assert.match(await refused(409, 'Conflict', apply('two', '2')), /conflict with "one": \.data\.x/);
  assert.equal((await apply('two', '2', true)).data.x, '2');

  // Objects of any kind, from YAML.
  const service = k8s.loadYaml(`{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ${namespace}}, spec: {selector: {app: box}, ports: [{port: 80, targetPort: 8080}]}}`);
  assert((await objects.create(service)).spec.clusterIP);
  const labelled = await objects.patch({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace, labels: { a: 'b' } } },
    undefined, undefined, 'js', undefined, k8s.PatchStrategy.MergePatch);
  assert.deepEqual(labelled.metadata.labels, { a: 'b' });
  assert((await objects.list('v1', 'Service', namespace)).items.length === 1);
}

async function containers() {
  await core.createNamespacedPod({ namespace, body: {
    metadata: { name: 'box', labels: { app: 'box' } },
    spec: podSpec('echo first; echo second; mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www'),
  } });
  await phase('box', 'Running');
  assert.equal(await core.readNamespacedPodLog({ name: 'box', namespace, tailLines: 1 }), 'second\n');

  const run = (script, { stdin = null, tty = false, pod = 'box' } = {}) => {
    const [out, err] = [text(), text()];
    return new Promise((resolve, reject) => {
      new k8s.Exec(kc).exec(namespace, pod, 'box', ['sh', '-c', script], out, err, stdin, tty,
        (status) => resolve({ out: out.text(), err: err.text(), status })).catch(reject);
    });
  };
  const plain = await run('echo out; hostname');
  assert.deepEqual([plain.out, plain.err, plain.status.status], ['out\nbox\n', '', 'Success']);
  const failing = await run('echo problem >&2; exit 7');
  assert.deepEqual([failing.err, failing.status.status, failing.status.reason], ['problem\n', 'Failure', 'NonZeroExitCode']);
  assert.deepEqual(failing.status.details.causes, [{ reason: 'ExitCode', message: '7' }]);
  const heard = await run('read line; echo heard $line', { stdin: Readable.from(['you\n']) });
  assert.equal(heard.out, 'heard you\n');
  const tty = await run('test -t 0 && echo a terminal', { tty: true });
  assert.equal(tty.out, 'a terminal\r\n');
  await assert.rejects(run('true', { pod: 'absent' }));

  const server = net.createServer((socket) => new k8s.PortForward(kc).portForward(namespace, 'box', [8080], socket, null, socket));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: 'close' } });
  assert.equal(await answer.text(), 'here\n');
  server.close();

  await core.createNamespacedPod({ namespace, body: { metadata: { name: 'brief' },
    spec: podSpec('for i in 1 2 3; do echo tick $i; sleep 0.3; done', { restartPolicy: 'Never' }) } });
  await until(pods, listPods, (_, pod) => ['Running', 'Succeeded'].includes(pod.status.phase), 'metadata.name=brief');
  const log = text();
  const ended = new Promise((resolve, reject) => log.on('end', resolve).on('error', reject));
  await new k8s.Log(kc).log(namespace, 'brief', 'box', log, { follow: true });
  await ended;
  assert.equal(log.text(), 'tick 1\ntick 2\ntick 3\n');
  await phase('brief', 'Succeeded');
  const events = await core.listNamespacedEvent({ namespace, fieldSelector: 'involvedObject.name=brief' });
  assert(events.items.some((event) => event.reason === 'Started'));
}

async function deployments() {
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments`;
  const list = (query) => apps.listNamespacedDeployment(query);
  const names = ['foreground', 'orphan'];
  for (const name of names) {
    const labels = { app: name };
    await apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec: {
      replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec('exec sleep 3600') } } } });
  }
  for (const name of names) await until(path, list, (_, d) => d.status.availableReplicas === 1, `metadata.name=${name}`);
  const scale = await apps.patchNamespacedDeploymentScale({ name: 'foreground', namespace, body: { spec: { replicas: 2 } } }, as(k8s.PatchStrategy.MergePatch));
  assert.equal(scale.spec.replicas, 2);
  await until(path, list, (_, d) => d.status.availableReplicas === 2, 'metadata.name=foreground');
  const sets = async (name) => (await apps.listNamespacedReplicaSet({ namespace, labelSelector: `app=${name}` })).items;
  const count = async (name) => (await listPods({ namespace, labelSelector: `app=${name}` })).items.length;
  await apps.deleteNamespacedDeployment({ name: 'orphan', namespace, propagationPolicy: 'Orphan' });
  await gone(() => apps.readNamespacedDeployment({ name: 'orphan', namespace }));
  assert.deepEqual((await sets('orphan')).map((set) => set.metadata.ownerReferences), [undefined]);
  assert.equal(await count('orphan'), 1);
  await apps.deleteNamespacedDeployment({ name: 'foreground', namespace, body: { propagationPolicy: 'Foreground' } });
  await gone(() => apps.readNamespacedDeployment({ name: 'foreground', namespace }));
  assert.deepEqual([(await sets('foreground')).length, await count('foreground')], [0, 0]);
}

// gone reads until there is nothing to read.
async function gone(read) {
  for (let i = 0; i < 600; i++) {
    const error = await read().then(() => undefined, (e) => e);
    if (error) {
      assert.equal(error.code, 404);
      return;
    }
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
  assert.fail('still there after a minute');
}

async function customResources() {
  const [group, version, plural] = ['javascript.example.com', 'v1', 'beans'];
  const at = { group, version, namespace, plural };
  const definition = {
    apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${plural}.${group}` },
    spec: { group, scope: 'Namespaced', names: { plural, singular: 'bean', kind: 'Bean' }, versions: [{
      name: version, served: true, storage: true, subresources: { status: {} }, schema: { openAPIV3Schema: { type: 'object', properties: {
        spec: { type: 'object', required: ['size'], properties: { size: { type: 'integer', minimum: 1 }, color: { type: 'string', _default: 'green' } } },
        status: { type: 'object', properties: { phase: { type: 'string' } } } } } } }] },
  };
  const extensions = kc.makeApiClient(k8s.ApiextensionsV1Api);
  await extensions.createCustomResourceDefinition({ body: definition });
  await until('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', (query) => extensions.listCustomResourceDefinition(query),
    (_, crd) => crd.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True'), `metadata.name=${plural}.${group}`);
  const bean = (name, spec) => ({ apiVersion: `${group}/${version}`, kind: 'Bean', metadata: { name, namespace }, spec });
  const made = await custom.createNamespacedCustomObject({ ...at, body: bean('kidney', { size: 3 }) });
  assert.deepEqual(made.spec, { size: 3, color: 'green' });
  assert.match(await refused(422, 'Invalid', custom.createNamespacedCustomObject({ ...at, body: bean('none', { size: 0 }) })), /spec\.size: Invalid value/);
  const patched = await custom.patchNamespacedCustomObject({ ...at, name: 'kidney', body: [{ op: 'replace', path: '/spec/color', value: 'red' }] });
  assert.equal(patched.spec.color, 'red');
  const status = await custom.patchNamespacedCustomObjectStatus({ ...at, name: 'kidney', body: { status: { phase: 'Ready' } } }, as(k8s.PatchStrategy.MergePatch));
  assert.equal(status.status.phase, 'Ready');
  const applied = await objects.patch(bean('pinto', { size: 2 }), undefined, undefined, 'js', undefined, k8s.PatchStrategy.ServerSideApply);
  assert.equal(applied.spec.color, 'green');
  const listed = await custom.listClusterCustomObject({ group, version, plural });
  assert.deepEqual(listed.items.map((item) => item.metadata.name), ['kidney', 'pinto']);

  const informer = k8s.makeInformer(kc, `/apis/${group}/${version}/namespaces/${namespace}/${plural}`, () => custom.listNamespacedCustomObject(at));
  const deleted = new Promise((resolve) => informer.on(k8s.DELETE, resolve));
  await informer.start();
  await objects.delete(bean('pinto'));
  assert.equal((await deleted).metadata.name, 'pinto');
  await informer.stop();
  await extensions.deleteCustomResourceDefinition({ name: definition.metadata.name });
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
for (const part of [about, lists, watches, informers, writes, containers, deployments, customResources]) {
  const begin = performance.now();
  await part();
  console.log(`${part.name}: ${((performance.now() - begin) / 1000).toFixed(1)}s`);
}
await core.deleteNamespace({ name: namespace });
await gone(() => core.readNamespace({ name: namespace }));
console.log('done');
// Sockets of the client's agents are kept open.
process.exit(0);
