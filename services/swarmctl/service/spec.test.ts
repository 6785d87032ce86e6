import { type ServiceSpec, ServiceSpec as ServiceSpecCodec } from "@starling/api";
import { describe, expect, it } from "vitest";
import { messageToJson } from "../format/json.ts";
import { parseFlags } from "../parse-flags.ts";
import { type CreateFlags, create, withPositionals } from "./create.ts";
import { withEdits } from "./edit.ts";
import type { Lookup } from "./lookup.ts";
import { newServiceSpec } from "./mode.ts";
import { withServiceFlags } from "./spec.ts";
import { type UpdateFlags, update } from "./update.ts";

const lookup: Lookup = {
  networks: new Map([
    ["front", "net-id"],
    ["back", "net2-id"],
    ["host", "host-id"],
  ]),
  secrets: new Map([["key", { id: "key-id", name: "key" }]]),
  configs: new Map([["conf", { id: "conf-id", name: "conf" }]]),
};

/** The spec that `service create` would send. */
function created(...words: string[]): ServiceSpec {
  const { flags, args } = parseFlags<CreateFlags>(create, ["--name", "web", ...words]);
  const given = withPositionals(flags, args);
  return withServiceFlags(newServiceSpec(given.mode), given, lookup);
}

/** The spec that `service update` would make of `base`. */
function updated(base: ServiceSpec, ...words: string[]): ServiceSpec {
  const { flags } = parseFlags<UpdateFlags>(update, [...words, "web"]);
  return withEdits(withServiceFlags(base, flags, lookup), flags, lookup);
}

const json = (spec: ServiceSpec) => messageToJson(ServiceSpecCodec, spec);
const seconds = (count: number) => ({ seconds: count, nanos: 0 });

describe("service create", () => {
  it("takes an image and its arguments, flags among them", () => {
    expect(created("--replicas", "3", "nginx:1", "-c", "a b", "--replicas", "9")).toMatchObject({
      annotations: { name: "web" },
      replicated: { replicas: 3 },
      task: { container: { image: "nginx:1", args: ["-c", "a b", "--replicas", "9"] } },
    });
  });

  it("takes SwarmKit's form", () => {
    const spec = created("--image", "nginx", "--args", "a,b", "--args", "c", "--command", "sh,-c", "--env", "A=1,2");
    expect(spec.task.container).toMatchObject({
      image: "nginx",
      args: ["a", "b", "c"],
      command: ["sh", "-c"],
      env: ["A=1,2"],
    });
  });

  it("makes up a name from the image", () => {
    const { flags, args } = parseFlags<CreateFlags>(create, ["reg:5000/team/web.app:1"]);
    expect(withPositionals(flags, args).name).toMatch(/^web-app-[0-9a-z]{5}$/);
  });

  it.each<[string, string[], object]>([
    ["--label", ["--label", "a=1", "-l", "b"], { annotations: { labels: { a: "1", b: "" } } }],
    ["--container-label", ["--container-label", "a=b=c"], { task: { container: { labels: { a: "b=c" } } } }],
    ["--mode global", ["--mode", "global"], { global: {} }],
    [
      "--mode replicated-job",
      ["--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2"],
      { replicatedJob: { totalCompletions: 5, maxConcurrent: 2 } },
    ],
    [
      "--hostname, --workdir, --user",
      ["--hostname", "h", "-w", "/w", "-u", "1:2"],
      {
        task: { container: { hostname: "h", dir: "/w", user: "1:2" } },
      },
    ],
    [
      "--tty --open-stdin --read-only --init",
      ["-t", "--open-stdin", "--read-only", "--init"],
      {
        task: { container: { tty: true, openStdin: true, readOnly: true, init: true } },
      },
    ],
    ["--init=false", ["--init=false"], { task: { container: { init: false } } }],
    [
      "--stop-…",
      ["--stop-signal", "SIGQUIT", "--stop-grace-period", "1m30s"],
      {
        task: { container: { stopSignal: "SIGQUIT", stopGracePeriod: "90s" } },
      },
    ],
    [
      "--mount",
      ["--mount", "type=bind,src=/a,dst=/b,ro"],
      {
        task: { container: { mounts: [{ type: "BIND", source: "/a", target: "/b", readonly: true }] } },
      },
    ],
    [
      "--tmpfs",
      ["--tmpfs", "/t:size=64m,mode=1777"],
      {
        task: {
          container: { mounts: [{ type: "TMPFS", target: "/t", tmpfsOptions: { sizeBytes: 2 ** 26, mode: 0o1777 } }] },
        },
      },
    ],
    [
      "--tmpfs with options of tmpfs",
      ["--tmpfs", "/t:uid=1000,exec,nr_inodes=1k"],
      { task: { container: { mounts: [{ type: "TMPFS", tmpfsOptions: { options: "uid=1000,exec,nr_inodes=1k" } }] } } },
    ],
    [
      "--mount of a volume with driver options and labels",
      ["--mount", "source=v,target=/v,volume-opt=type=tmpfs,volume-opt=o=size=1m,volume-driver=local,volume-label=a=1"],
      {
        task: {
          container: {
            mounts: [
              {
                type: "VOLUME",
                volumeOptions: {
                  labels: { a: "1" },
                  driverConfig: { name: "local", options: { type: "tmpfs", o: "size=1m" } },
                },
              },
            ],
          },
        },
      },
    ],
    [
      "--mount of a bind with its recursion",
      ["--mount", "type=bind,src=/a,dst=/b,ro,bind-recursive=writable,bind-create-src,consistency=cached"],
      {
        task: {
          container: { mounts: [{ bindOptions: { readonlynonrecursive: true, createmountpoint: true } }] },
        },
      },
    ],
    [
      "--bind, --volume",
      ["--bind", "/a:/b", "--volume", "v:/c"],
      {
        task: {
          container: {
            mounts: [
              { type: "BIND", source: "/a" },
              { type: "VOLUME", source: "v", target: "/c" },
            ],
          },
        },
      },
    ],
    [
      "--secret",
      ["--secret", "key:file"],
      {
        task: {
          container: { secrets: [{ secretId: "key-id", secretName: "key", file: { name: "file", mode: 0o444 } }] },
        },
      },
    ],
    [
      "--config",
      ["--config", "source=conf,target=/etc/x,mode=0400"],
      {
        task: { container: { configs: [{ configId: "conf-id", file: { name: "/etc/x", mode: 0o400 } }] } },
      },
    ],
    [
      "--host, --dns",
      ["--host", "db:10.0.0.1", "--dns", "1.1.1.1", "--dns-search", "x.org"],
      {
        task: { container: { hosts: ["10.0.0.1 db"], dnsConfig: { nameservers: ["1.1.1.1"], search: ["x.org"] } } },
      },
    ],
    [
      "--cap-…",
      ["--cap-add", "net_admin", "--cap-drop", "all"],
      {
        task: { container: { capabilityAdd: ["CAP_NET_ADMIN"], capabilityDrop: ["ALL"] } },
      },
    ],
    [
      "--sysctl, --ulimit",
      ["--sysctl", "net.a=1", "--ulimit", "nofile=10:20"],
      {
        task: { container: { sysctls: { "net.a": "1" }, ulimits: [{ name: "nofile", soft: 10, hard: 20 }] } },
      },
    ],
    [
      "--health-…",
      ["--health-cmd", "curl x", "--health-interval", "500ms", "--health-retries", "2"],
      {
        task: { container: { healthcheck: { test: ["CMD-SHELL", "curl x"], interval: "0.5s", retries: 2 } } },
      },
    ],
    ["--no-healthcheck", ["--no-healthcheck"], { task: { container: { healthcheck: { test: ["NONE"] } } } }],
    [
      "--limit-…",
      ["--limit-cpu", "0.5", "--limit-memory", "64m", "--limit-pids", "10"],
      {
        task: { resources: { limits: { nanoCpus: 5e8, memoryBytes: 2 ** 26 } }, container: { pidsLimit: 10 } },
      },
    ],
    [
      "--memory-limit, --cpu-reservation",
      ["--memory-limit", "1g", "--cpu-reservation", "2"],
      {
        task: { resources: { limits: { memoryBytes: 2 ** 30 }, reservations: { nanoCpus: 2e9 } } },
      },
    ],
    [
      "what Swarm has no field for: labels of the container",
      ["--privileged", "--device", "/dev/fuse", "--device", "nvidia.com/gpu=0", "--pid", "host", "--shm-size", "1g"],
      {
        task: {
          container: {
            labels: {
              "io.starling.privileged": "true",
              "io.starling.device": "/dev/fuse,nvidia.com/gpu=0",
              "io.starling.pid": "host",
              "io.starling.shm-size": String(2 ** 30),
            },
          },
        },
      },
    ],
    [
      "--security-opt",
      ["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"],
      {
        task: {
          container: {
            labels: { "io.starling.no-new-privileges": "false" },
            privileges: { seccomp: { mode: "UNCONFINED" } },
          },
        },
      },
    ],
    [
      "--network host",
      ["--network", "host"],
      { task: { networks: [{ target: "host-id" }], container: { labels: {} } } },
    ],
    [
      "--network none",
      ["--network", "none"],
      { task: { networks: [], container: { labels: { "io.starling.network": "none" } } } },
    ],
    [
      "--memory-swap, --memory-swappiness",
      ["--limit-memory", "64m", "--memory-swap", "-1", "--memory-swappiness", "5"],
      { task: { resources: { swapBytes: -1, memorySwappiness: 5 } } },
    ],
    [
      "--generic-resources",
      ["--generic-resources", "gpu=3,fpga=1"],
      {
        task: {
          resources: {
            reservations: {
              generic: [
                { discreteResourceSpec: { kind: "gpu", value: 3 } },
                { discreteResourceSpec: { kind: "fpga", value: 1 } },
              ],
            },
          },
        },
      },
    ],
    [
      "--constraint and friends",
      ["--constraint", "node.role==worker", "--placement-pref", "spread=node.labels.z", "--replicas-max-per-node", "2"],
      {
        task: {
          placement: {
            constraints: ["node.role==worker"],
            preferences: [{ spread: { spreadDescriptor: "node.labels.z" } }],
            maxReplicas: 2,
          },
        },
      },
    ],
    [
      "--restart-…",
      ["--restart-condition", "on-failure", "--restart-delay", "2s", "--restart-max-attempts", "4"],
      {
        task: { restart: { condition: "ON_FAILURE", delay: "2s", maxAttempts: 4 } },
      },
    ],
    ["--restart-delay alone", ["--restart-delay", "2s"], { task: { restart: { condition: "ANY", delay: "2s" } } }],
    [
      "--update-…",
      [
        "--update-parallelism",
        "0",
        "--update-order",
        "start-first",
        "--update-failure-action",
        "rollback",
        "--update-max-failure-ratio",
        "0.25",
      ],
      {
        update: { parallelism: 0, order: "START_FIRST", failureAction: "ROLLBACK", maxFailureRatio: 0.25 },
      },
    ],
    [
      "--update-deadline",
      ["--update-deadline", "5m"],
      { annotations: { labels: { "io.starling.update-deadline": "5m" } } },
    ],
    ["--balance", ["--balance", "source"], { annotations: { labels: { "io.starling.balance": "source" } } }],
    [
      "--placement-strategy, --rebalance",
      ["--placement-strategy", "binpack", "--rebalance", "off"],
      { annotations: { labels: { "io.starling.placement-strategy": "binpack", "io.starling.rebalance": "off" } } },
    ],
    ["--prefer-local", ["--prefer-local"], { annotations: { labels: { "io.starling.prefer-local": "true" } } }],
    [
      "--publish-on",
      ["--publish-on", "10.0.0.5", "--publish-on", "10.1.0.0/16"],
      { annotations: { labels: { "io.starling.publish-on": "10.0.0.5 10.1.0.0/16" } } },
    ],
    ["--update-delay alone", ["--update-delay", "1s"], { update: { parallelism: 1, delay: "1s" } }],
    [
      "--rollback-…",
      ["--rollback-monitor", "1s", "--rollback-on-failure", "continue"],
      {
        rollback: { monitor: "1s", failureAction: "CONTINUE" },
      },
    ],
    [
      "--network",
      ["--network", "front", "--network", "name=back,alias=db"],
      {
        task: { networks: [{ target: "net-id" }, { target: "net2-id", aliases: ["db"] }] },
      },
    ],
    [
      "--network with fixed addresses",
      ["--network", "name=front,ip=10.1.0.50,ip6=fd01::50"],
      { task: { networks: [{ target: "net-id", addresses: ["10.1.0.50", "fd01::50"] }] } },
    ],
    [
      "--publish-not-ready",
      ["--publish-not-ready", "--drain-time", "3s"],
      { task: { container: { labels: { "io.starling.publish-not-ready": "true", "io.starling.drain-time": "3s" } } } },
    ],
    [
      "--publish",
      ["--publish", "8080:80", "-p", "53:53/udp,mode=host"],
      {
        endpoint: {
          ports: [
            { publishedPort: 8080, targetPort: 80, protocol: "TCP", publishMode: "INGRESS" },
            { publishedPort: 53, targetPort: 53, protocol: "UDP", publishMode: "HOST" },
          ],
        },
      },
    ],
    [
      "--ports",
      ["--ports", "http:80/tcp:8080/tcp"],
      {
        endpoint: { ports: [{ name: "http", publishedPort: 8080, targetPort: 80, publishMode: "HOST" }] },
      },
    ],
    ["--endpoint-mode", ["--endpoint-mode", "dnsrr"], { endpoint: { mode: "DNSRR" } }],
    [
      "--log-…",
      ["--log-driver", "json-file", "--log-opt", "max-size=1m"],
      {
        task: { logDriver: { name: "json-file", options: { "max-size": "1m" } } },
      },
    ],
  ])("%s", (_flag, words, expected) => {
    expect(json(created(...words, "nginx"))).toMatchObject(expected);
  });

  it.each<[string[], string]>([
    [["--publish", "80:http"], '--publish: "80:http" is not a port to publish: "http" is not a port'],
    [["--publish", "1-3:1-2"], "both ranges must be of one length"],
    [["--limit-memory", "lots"], '--limit-memory: "lots" is not a size'],
    [["--stop-grace-period", "5"], '--stop-grace-period: "5" is not a duration'],
    [["--update-order", "last"], '--update-order: "last" is not one of stop-first, start-first'],
    [["--rollback-failure-action", "rollback"], "is not one of pause, continue"],
    [["--replicas", "-1"], '"-1" is not a whole number of at least 0'],
    [["--mount", "type=bind,source=/a"], "target=PATH is missing"],
    [["--mode", "solo"], '--mode "solo" is not one of replicated, global, replicated-job, global-job'],
    [["--mode", "global", "--replicas", "2"], "--replicas is for replicated services only"],
    [["--ulimit", "nofile=20:10"], "the soft limit is above the hard one"],
    [["--device", "fuse"], 'io.starling.device "fuse": write /dev/NAME'],
    [["--pid", "container:x"], 'io.starling.pid "container:x": must be host'],
    [["--network", "host", "--network", "front"], "--network host excludes other networks"],
    [["--security-opt", "seccomp"], '"seccomp" is not a security option'],
  ])("refuses %j", (words, message) => {
    expect(() => created(...words, "nginx")).toThrow(message);
  });

  it("refuses to run without an image", () => {
    expect(() => created("--replicas", "1")).toThrow("service create needs an image");
  });
});

describe("service update", () => {
  const base = created(
    "--env",
    "A=1",
    "--env",
    "B=2",
    "--label",
    "x=1",
    "--publish",
    "8080:80",
    "--network",
    "front",
    "--constraint",
    "node.role==worker",
    "nginx:1",
    "run",
  );

  it("changes what it names and leaves the rest", () => {
    expect(updated(base, "--image", "nginx:2")).toEqual({
      ...base,
      task: { ...base.task, container: { ...base.task.container, image: "nginx:2" } },
    });
  });

  it("adds and removes", () => {
    const next = updated(
      base,
      "--env-add",
      "B=3",
      "--env-add",
      "C=4",
      "--env-rm",
      "A",
      "--label-add",
      "y=2",
      "--label-rm",
      "x",
      "--publish-rm",
      "80",
      "--publish-add",
      "9090:90",
      "--network-rm",
      "front",
      "--network-add",
      "back",
      "--constraint-rm",
      "node.role==worker",
      "--force",
    );
    expect(next.task.container?.env).toEqual(["B=3", "C=4"]);
    expect(next.annotations.labels).toEqual({ y: "2" });
    expect(next.endpoint?.ports.map(({ publishedPort }) => publishedPort)).toEqual([9090]);
    expect(next.task.networks.map(({ target }) => target)).toEqual(["net2-id"]);
    expect(next.task.placement?.constraints).toEqual([]);
    expect(next.task.forceUpdate).toBe(1);
  });

  it("keeps options that no flag names, and edits devices", () => {
    const first = created("--device", "/dev/a", "--device", "/dev/b:/dev/c:r", "--pid", "host", "nginx");
    const next = updated(first, "--container-label", "x=1", "--device-rm", "/dev/b", "--device-add", "/dev/d");
    expect(next.task.container?.labels).toEqual({
      x: "1",
      "io.starling.device": "/dev/a,/dev/d",
      "io.starling.pid": "host",
    });
    expect(updated(next, "--pid", "").task.container?.labels["io.starling.pid"]).toBeUndefined();
  });

  it("takes SwarmKit's add and rm flags", () => {
    const withKey = updated(base, "--add-secret", "key:k", "--add-capability", "sys_time");
    expect(withKey.task.container?.secrets[0]).toMatchObject({ secretId: "key-id", file: { name: "k" } });
    expect(withKey.task.container?.capabilityAdd).toEqual(["CAP_SYS_TIME"]);
    const without = updated(withKey, "--rm-secret", "key", "--rm-capability", "sys_time");
    expect(without.task.container).toMatchObject({ secrets: [], capabilityAdd: [] });
  });

  it("replaces a list by the flag without -add", () => {
    expect(updated(base, "--env", "Z=9").task.container?.env).toEqual(["Z=9"]);
    expect(updated(base, "--args", "a 'b c'").task.container?.args).toEqual(["a", "b c"]);
    expect(updated(base, "--stop-grace-period", "5s").task.container?.stopGracePeriod).toEqual(seconds(5));
  });
});
