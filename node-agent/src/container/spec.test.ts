import {
  Annotations,
  ContainerSpec,
  ContainerSpec_Isolation,
  ContainerSpec_Ulimit,
  Driver,
  Mount,
  Mount_TmpfsOptions,
  Mount_Type,
  Mount_VolumeOptions,
  NetworkAttachment,
  Privileges,
  Privileges_CredentialSpec,
  predefinedNetwork,
  ResourceRequirements,
  Resources,
  Task,
  TaskSpec,
} from "@starling/api";
import type { ImageConfig } from "@starling/registry";
import { describe, expect, it } from "vitest";
import { planAttachment } from "../network/attachment.ts";
import { logPlanOf } from "./log-driver.ts";
import { volumeMount, wantedMounts } from "./mounts.ts";
import { capabilitiesOf } from "./privileges.ts";
import { signalNumber } from "./signals.ts";
import { bundleSpecOf } from "./spec.ts";

const image: ImageConfig = {
  user: "www",
  env: ["PATH=/image/bin", "A=image", "B=image"],
  entrypoint: ["/entry"],
  cmd: ["serve"],
  workingDir: "/srv",
  stopSignal: "",
  labels: {},
  volumes: [],
  diffIds: [],
};

const node = { id: "n1", hostname: "host1", os: "linux", architecture: "amd64" };

function specOf(container: Partial<ContainerSpec>, task: Partial<Task> = {}, imageVolumes: readonly string[] = []) {
  const spec = TaskSpec.create({ container: ContainerSpec.create({ image: "x", ...container }) });
  const of = Task.create({
    id: "abcdefghijklmnopqrstuvwxy",
    serviceId: "s1",
    slot: 3,
    serviceAnnotations: Annotations.create({ name: "web", labels: { tier: "front" } }),
    spec,
    ...task,
  });
  const wanted = wantedMounts(of, node, imageVolumes);
  const volumes = wanted.volumes.map((volume) => volumeMount(volume, `/volumes/${volume.name}`, true));
  const mounts = [...wanted.mounts, ...volumes];
  return bundleSpecOf({
    task: of,
    node,
    image,
    files: [{ source: "/run/f", target: "/run/secrets/key" }],
    mounts,
    hardware: { devices: [], rules: [], ioLimits: [], env: [] },
    log: logPlanOf(of, "host1"),
    securityModules: { architecture: "x64", appArmor: false, selinux: false, appArmorProfiles: [] },
    paths: {
      layers: ["/l2", "/l1"],
      upper: "/u",
      work: "/w",
      root: "/r",
      log: "/log",
      hostname: "/f/hostname",
      hosts: "/f/hosts",
      resolvConf: "/f/resolv",
    },
  });
}

describe("command line", () => {
  it.each<[why: string, spec: Partial<ContainerSpec>, args: readonly string[]]>([
    ["the image's own", {}, ["/entry", "serve"]],
    ["arguments replace CMD", { args: ["-v"] }, ["/entry", "-v"]],
    ["a command replaces ENTRYPOINT and CMD", { command: ["sh"] }, ["sh"]],
    ["both", { command: ["sh"], args: ["-c", "true"] }, ["sh", "-c", "true"]],
  ])("%s", (_why, spec, args) => expect(specOf(spec).process.args).toEqual(args));
});

describe("environment", () => {
  it("lays the service's over the image's, expands templates, takes away names without a value", () => {
    expect(
      specOf({ env: ["A={{.Service.Name}}.{{.Task.Slot}}", "B", 'C={{ index .Service.Labels "tier" }}'] }).process.env,
    ).toEqual(["PATH=/image/bin", "HOSTNAME=abcdefghijkl", "A=web.3", "C=front"]);
  });

  it("refuses a template that it does not know", () => {
    expect(() => specOf({ env: ["A={{.Nope}}"] })).toThrow('template "A={{.Nope}}": {{.Nope}} is not known here');
  });
});

describe("what only Windows has", () => {
  it("is refused, and not left out silently", () => {
    expect(() => specOf({ isolation: ContainerSpec_Isolation.ISOLATION_HYPERV })).toThrow("isolation hyperv");
    const credentialSpec = Privileges_CredentialSpec.create({ file: "x" });
    expect(() => specOf({ privileges: Privileges.create({ credentialSpec }) })).toThrow("credential spec");
    expect(specOf({ isolation: ContainerSpec_Isolation.ISOLATION_PROCESS }).process.cwd).toBe("/srv");
  });
});

describe("network", () => {
  it("is the host's for a task that is attached to it, as for one that says so by label", () => {
    const host = predefinedNetwork("host-id", "host");
    const bridge = predefinedNetwork("bridge-id", "bridge");
    const on = (...networks: readonly (typeof host)[]) =>
      specOf({}, { networks: networks.map((network) => NetworkAttachment.create({ network })) });
    for (const spec of [on(host), specOf({ labels: { "io.starling.network": "host" } })]) {
      expect(spec).toMatchObject({ hostNamespaces: ["network"], hostname: "host1", sysctls: {} });
    }
    expect(on(bridge).hostNamespaces).toEqual([]);
    expect(planAttachment(Task.create({ networks: [NetworkAttachment.create({ network: bridge })] }))).toMatchObject({
      attachment: { overlays: [], wayOut: true },
    });
  });
});

describe("mounts", () => {
  it("puts parents before what is below them", () => {
    const mounts = [
      Mount.create({ type: Mount_Type.BIND, source: "/host", target: "/data/in/", readonly: true }),
      Mount.create({ type: Mount_Type.VOLUME, source: "db-{{.Task.Slot}}", target: "/data" }),
      Mount.create({
        type: Mount_Type.TMPFS,
        target: "/tmp",
        tmpfsOptions: Mount_TmpfsOptions.create({ sizeBytes: 9 }),
      }),
    ];
    expect(specOf({ mounts }).mounts?.map(({ source, target }) => `${source ?? "tmpfs"} ${target}`)).toEqual([
      "tmpfs /tmp",
      "/volumes/db-3 /data",
      "/f/hostname /etc/hostname",
      "/f/hosts /etc/hosts",
      "/f/resolv /etc/resolv.conf",
      "/host /data/in",
      "/run/f /run/secrets/key",
    ]);
  });

  it("expands templates in a volume's labels and driver options", () => {
    const driverConfig = Driver.create({ options: { device: ":/{{.Service.Name}}" } });
    const volumeOptions = Mount_VolumeOptions.create({ labels: { slot: "{{.Task.Slot}}" }, driverConfig });
    const mounts = [Mount.create({ type: Mount_Type.VOLUME, source: "v", target: "/v", volumeOptions })];
    const task = Task.create({
      slot: 3,
      serviceAnnotations: Annotations.create({ name: "web" }),
      spec: TaskSpec.create({ container: ContainerSpec.create({ mounts }) }),
    });
    expect(wantedMounts(task, node, []).volumes).toMatchObject([
      { labels: { slot: "3" }, options: { device: ":/web" } },
    ]);
  });

  it("gives paths that the image wants as volumes one of the task's own, unless something is mounted there", () => {
    const mounts = [Mount.create({ type: Mount_Type.TMPFS, target: "/cache" })];
    const sources = specOf({ mounts }, {}, ["/data/db", "/cache"]).mounts?.map(({ source }) => source);
    expect(sources).toContain("/volumes/abcdefghijklmnopqrstuvwxy.data.db");
    expect(sources).not.toContain("/volumes/abcdefghijklmnopqrstuvwxy.cache");
  });

  it.each<[why: string, mount: Partial<Mount>, error: RegExp]>([
    ["relative target", { type: Mount_Type.TMPFS, target: "tmp" }, /the target must be an absolute path below \//],
    ["root as target", { type: Mount_Type.TMPFS, target: "/" }, /the target must be an absolute path below \//],
    ["relative bind source", { type: Mount_Type.BIND, source: "a", target: "/a" }, /must be an absolute path/],
    [
      "subpath that climbs",
      {
        type: Mount_Type.VOLUME,
        source: "v",
        target: "/a",
        volumeOptions: Mount_VolumeOptions.create({ subpath: "../x" }),
      },
      /must be a path within the volume/,
    ],
    [
      "tmpfs option of another kind",
      { type: Mount_Type.TMPFS, target: "/a", tmpfsOptions: Mount_TmpfsOptions.create({ options: "context=x" }) },
      /"context=x" is not an option of a tmpfs/,
    ],
    ["cluster volume", { type: Mount_Type.CLUSTER, source: "v", target: "/a" }, /only bind, volume and tmpfs/],
  ])("refuses a %s", (_why, mount, error) => expect(() => specOf({ mounts: [Mount.create(mount)] })).toThrow(error));
});

it("turns limits into what cgroups take", () => {
  const resources = ResourceRequirements.create({
    limits: Resources.create({ nanoCpus: 1.5e9, memoryBytes: 1 << 26 }),
    reservations: Resources.create({ memoryBytes: 1 << 25 }),
  });
  const container = ContainerSpec.create({
    image: "x",
    pidsLimit: 50,
    ulimits: [ContainerSpec_Ulimit.create({ name: "nofile", soft: 10, hard: -1 })],
  });
  const spec = specOf({}, { spec: TaskSpec.create({ container, resources }) });
  expect(spec.resources).toMatchObject({
    memoryBytes: 1 << 26,
    memoryReservationBytes: 1 << 25,
    cpuQuotaUs: 150_000,
    pids: 50,
  });
  expect(spec.process.rlimits).toEqual([{ name: "nofile", soft: 10, hard: -1 }]);
});

describe("capabilities", () => {
  const of = (add: readonly string[], drop: readonly string[]) =>
    capabilitiesOf({ capabilityAdd: add, capabilityDrop: drop });
  it("adds to and drops from Docker's", () => {
    expect(of([], [])).toHaveLength(14);
    expect(of(["net_admin"], ["CAP_CHOWN"])).toContain("CAP_NET_ADMIN");
    expect(of([], ["chown"])).not.toContain("CAP_CHOWN");
    expect(of(["CAP_KILL"], ["ALL"])).toEqual(["CAP_KILL"]);
    expect(of(["ALL"], [])).toHaveLength(41);
  });
});

describe("signals", () => {
  it.each([
    ["SIGTERM", 15],
    ["quit", 3],
    ["9", 9],
    ["SIGRTMIN+3", 37],
  ])("%s is %i", (name, number) => expect(signalNumber(name)).toBe(number));
  it.each(["SIGNOPE", "0", "65", ""])("refuses %j", (name) => expect(() => signalNumber(name)).toThrow(/stop signal/));
});

describe("log driver", () => {
  const of = (name: string, options: Record<string, string> = {}) =>
    logPlanOf(Task.create({ id: "abcdefghijklmnop", logDriver: Driver.create({ name, options }) }), "host1");
  it("reads json-file's options", () => {
    expect(of("json-file", { "max-size": "1.5m", "max-file": "5" })).toEqual({
      rotation: { maxBytes: 1572864, maxFiles: 5 },
      sink: undefined,
    });
    expect(of("none").rotation).toBeUndefined();
  });
  it("reads syslog's options", () => {
    const options = {
      "syslog-address": "tcp://[::1]:601",
      "syslog-facility": "local7",
      "syslog-format": "rfc5424",
      tag: "{{.ID}}/x",
    };
    expect(of("syslog", options).sink).toEqual({
      kind: "syslog",
      transport: "tcp",
      address: "::1",
      port: 601,
      facility: 23,
      rfc5424: true,
      hostname: "host1",
      tag: "abcdefghijkl/x",
    });
    expect(of("syslog").sink).toMatchObject({
      transport: "unix",
      address: "/dev/log",
      facility: 3,
      tag: "abcdefghijkl",
    });
  });
  it("refuses what it cannot do", () => {
    expect(() => of("gelf")).toThrow(
      'log driver "gelf": not here, use one of json-file, local, none, syslog, journald',
    );
    expect(() => of("syslog", { "syslog-address": "http://x" })).toThrow(/write unix:\/\/\/dev\/log/);
    expect(() => of("syslog", { "syslog-facility": "loud" })).toThrow(/must be 0 to 23 or one of kern/);
    expect(() => of("journald", { tag: "{{.Nope}}" })).toThrow(/{{.Nope}} is not known here/);
    expect(() => of("journald", { color: "red" })).toThrow("log option color: journald knows tag, labels");
    expect(() => of("", { "max-size": "lots" })).toThrow(/max-size=lots/);
  });
});
