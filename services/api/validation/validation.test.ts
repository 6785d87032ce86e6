import { SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import {
  Annotations,
  ClusterSpec,
  ConfigSpec,
  ContainerSpec,
  Driver,
  EndpointSpec,
  EndpointSpec_ResolutionMode,
  FileTarget,
  GenericRuntimeSpec,
  GlobalJob,
  HealthConfig,
  IPAMConfig,
  IPAMOptions,
  Mount,
  Mount_Type,
  NetworkSpec,
  Placement,
  PortConfig,
  PortConfig_PublishMode,
  ReplicatedService,
  ResourceRequirements,
  Resources,
  RestartPolicy,
  SecretReference,
  SecretSpec,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from "../index.ts";
import {
  validateClusterSpec,
  validateConfigSpec,
  validateNetworkSpec,
  validateSecretSpec,
  validateServiceSpec,
} from "./index.ts";

const annotations = (name: string) => Annotations.create({ name });
const container = (init: Partial<ContainerSpec>) =>
  service({ task: TaskSpec.create({ container: ContainerSpec.create({ image: "nginx", ...init }) }) });
const task = (init: Partial<TaskSpec>) =>
  service({ task: TaskSpec.create({ container: ContainerSpec.create({ image: "nginx" }), ...init }) });
const port = (init: Partial<PortConfig>) => PortConfig.create({ targetPort: 80, publishedPort: 8080, ...init });
const endpoint = (...ports: PortConfig[]) => service({ endpoint: EndpointSpec.create({ ports }) });
const mount = (init: Partial<Mount>) => Mount.create({ type: Mount_Type.VOLUME, target: "/data", ...init });
const secret = (name: string, file: string) =>
  SecretReference.create({ secretId: name, secretName: name, file: FileTarget.create({ name: file }) });
const labelled = (label: string, value: string) =>
  service({ annotations: Annotations.create({ name: "n", labels: { [label]: value } }) });
const negative = { seconds: -1, nanos: 0 };

function service(init: Partial<ServiceSpec>): ServiceSpec {
  return ServiceSpec.create({
    annotations: annotations("web"),
    task: TaskSpec.create({ container: ContainerSpec.create({ image: "nginx" }) }),
    replicated: ReplicatedService.create({ replicas: 1 }),
    ...init,
  });
}

function refusal(check: () => unknown): string {
  try {
    check();
  } catch (thrown) {
    if (thrown instanceof SwarmError) return `${thrown.code}: ${thrown.message}`;
    throw thrown;
  }
  return "accepted";
}

describe("validateServiceSpec", () => {
  it.each<[string, ServiceSpec | undefined, string]>([
    [
      "an update deadline that is no duration",
      service({ annotations: Annotations.create({ name: "web", labels: { "io.starling.update-deadline": "soon" } }) }),
      'label io.starling.update-deadline "soon" must be a duration up to 168h, as in 90s or 5m',
    ],
    [
      "an update deadline of a job",
      service({
        annotations: Annotations.create({ name: "web", labels: { "io.starling.update-deadline": "1m" } }),
        replicated: undefined,
        globalJob: GlobalJob.create(),
      }),
      "Jobs may not have an update deadline",
    ],
    ["no spec", undefined, "InvalidArgument: service spec must be provided"],
    ["no name", service({ annotations: annotations("") }), "InvalidArgument: meta: name must be provided"],
    ["a name with a dot", service({ annotations: annotations("a.b") }), "name must be valid as a DNS name component"],
    ["a long name", service({ annotations: annotations("a".repeat(64)) }), "name must be 63 characters or fewer"],
    ["a name of many joints", service({ annotations: annotations(`${"a-".repeat(30)}!`) }), "DNS name component"],
    ["no image", container({ image: "" }), "ContainerSpec: image reference must be provided"],
    ["an image with capitals", container({ image: "Nginx" }), '"Nginx" is not a valid repository/tag'],
    ["an image with an empty tag", container({ image: "nginx:" }), "the tag must be"],
    ["a cut digest", container({ image: "nginx@sha256:12" }), "the digest must look like"],
    [
      "a relative mount target",
      container({ mounts: [mount({ target: "data" })] }),
      'target "data" must be an absolute',
    ],
    ["two mounts in one place", container({ mounts: [mount({}), mount({})] }), "duplicate mount point: /data"],
    [
      "a bind without source",
      container({ mounts: [mount({ type: Mount_Type.BIND })] }),
      'bind mount source "" must be',
    ],
    ["a nameless variable", container({ env: ["=1"] }), 'environment variable "=1" has no name'],
    [
      "a hasty health check",
      container({ healthcheck: HealthConfig.create({ interval: { seconds: 0, nanos: 1 } }) }),
      "Interval in HealthConfig cannot be less than 1ms",
    ],
    ["secrets in one file", container({ secrets: [secret("a", "f"), secret("b", "f")] }), "conflicting target: 'f'"],
    ["a secret without id", container({ secrets: [SecretReference.create({ secretName: "a" })] }), "malformed secret"],
    [
      "too little memory",
      task({ resources: ResourceRequirements.create({ limits: Resources.create({ memoryBytes: 4095 }) }) }),
      "invalid memory value 4095 (limit): Must be at least 4MiB",
    ],
    [
      "too little CPU",
      task({ resources: ResourceRequirements.create({ reservations: Resources.create({ nanoCpus: 1000 }) }) }),
      "invalid cpu value 0.000001 (reservation)",
    ],
    ["a bad constraint", task({ placement: Placement.create({ constraints: ["node.role=x"] }) }), "node.role=x"],
    [
      "a negative delay",
      task({ restart: RestartPolicy.create({ delay: negative }) }),
      "restart-delay cannot be negative",
    ],
    ["no runtime", service({ task: TaskSpec.create() }), "TaskSpec: missing runtime"],
    [
      "a reserved runtime",
      service({ task: TaskSpec.create({ generic: GenericRuntimeSpec.create({ kind: "Container" }) }) }),
      '"Container" is a reserved name',
    ],
    ["no mode", service({ replicated: undefined }), "Unrecognized service mode"],
    ["two modes", service({ globalJob: GlobalJob.create() }), "Unrecognized service mode"],
    [
      "a job with updates",
      service({ replicated: undefined, globalJob: GlobalJob.create(), update: UpdateConfig.create() }),
      "Jobs may not have an update config",
    ],
    [
      "a ratio above one",
      service({ update: UpdateConfig.create({ maxFailureRatio: 1.5 }) }),
      "bigger than 1: it is 1.5",
    ],
    [
      "no address to publish on",
      service({ annotations: Annotations.create({ name: "n", labels: { "io.starling.publish-on": "10.0.0.0/33" } }) }),
      '"10.0.0.0/33" is no address or prefix',
    ],
    [
      "bits beyond the prefix to publish on",
      service({
        annotations: Annotations.create({ name: "n", labels: { "io.starling.publish-on": "fd00::1 fd00::1/64" } }),
      }),
      '"fd00::1/64" is no address or prefix',
    ],
    [
      "half a preference",
      service({ annotations: Annotations.create({ name: "n", labels: { "io.starling.prefer-local": "yes" } }) }),
      'label io.starling.prefer-local "yes" must be true or false',
    ],
    [
      "an unknown way to balance",
      service({ annotations: Annotations.create({ name: "n", labels: { "io.starling.balance": "fair" } }) }),
      'label io.starling.balance "fair" must be one of random, source',
    ],
    [
      "an unknown strategy",
      labelled("io.starling.placement-strategy", "random"),
      '"random" must be one of spread, binpack',
    ],
    ["a half-hearted wish to rebalance", labelled("io.starling.rebalance", "yes"), '"yes" must be on or off'],
    ["a rate of its own", labelled("io.starling.rebalance.rate", "5"), "is the cluster's: set it by cluster update"],
    ["a rollback into the past", service({ rollback: UpdateConfig.create({ delay: negative }) }), "rollback-delay"],
    ["no target port", endpoint(port({ targetPort: 0 })), "target port 0 must be between 1 and 65535"],
    ["a port beyond", endpoint(port({ publishedPort: 70000 })), "published port 70000"],
    ["a port twice", endpoint(port({}), port({ targetPort: 81 })), "duplicate published ports provided: 8080/tcp"],
    [
      "ingress with dnsrr",
      service({
        endpoint: EndpointSpec.create({ mode: EndpointSpec_ResolutionMode.DNSRR, ports: [port({})] }),
      }),
      "port published with ingress mode can't be used with dnsrr mode",
    ],
  ])("refuses %s", (_what, spec, message) => {
    expect(refusal(() => validateServiceSpec(spec))).toContain(message);
  });

  it.each<[string, ServiceSpec]>([
    ["a whole reference", container({ image: `reg.example:5000/team/web:1.2@sha256:${"a".repeat(64)}` })],
    ["templates in mounts", container({ mounts: [mount({ target: "{{.Node.Hostname}}" })] })],
    ["a dynamic port twice", endpoint(port({ publishedPort: 0 }), port({ publishedPort: 0 }))],
    [
      "dnsrr with host ports",
      service({
        endpoint: EndpointSpec.create({
          mode: EndpointSpec_ResolutionMode.DNSRR,
          ports: [port({ publishMode: PortConfig_PublishMode.HOST })],
        }),
      }),
    ],
  ])("accepts %s", (_what, spec) => {
    expect(validateServiceSpec(spec)).toBe(spec);
  });
});

describe("validateNetworkSpec", () => {
  const network = (init: Partial<NetworkSpec>) => NetworkSpec.create({ annotations: annotations("net"), ...init });
  const ipam = (...configs: Partial<IPAMConfig>[]) =>
    network({ ipam: IPAMOptions.create({ configs: configs.map((config) => IPAMConfig.create(config)) }) });
  const driver = (name: string, options = {}) => network({ driverConfig: Driver.create({ name, options }) });

  it.each<[string, NetworkSpec, string]>([
    [
      "a foreign driver",
      driver("weave"),
      'InvalidArgument: network driver "weave" is unknown: use "overlay", "macvlan"',
    ],
    ["macvlan without a parent", driver("macvlan"), "a macvlan network needs the hosts' device that it is on"],
    ["a parent that is no name", driver("macvlan", { parent: "eth0,/dev/x" }), 'parent: "/dev/x" is no device\'s name'],
    [
      "an unknown mode",
      driver("ipvlan", { parent: "eth0", ipvlan_mode: "bridge" }),
      'network option ipvlan_mode "bridge" is unknown: use one of l2, l3, l3s',
    ],
    [
      "encryption of macvlan",
      driver("macvlan", { parent: "eth0", encrypted: "" }),
      "only overlay networks are encrypted",
    ],
    [
      "an ingress network of macvlan",
      network({ ingress: true, driverConfig: Driver.create({ name: "macvlan", options: { parent: "eth0" } }) }),
      "the ingress network is an overlay",
    ],
    [
      "a configuration of each node's own",
      network({ network: { configFrom: "here" } as unknown as NonNullable<NetworkSpec["network"]> }),
      "Unimplemented: network: config-from names a network of each node's own",
    ],
    [
      "half encryption",
      driver("overlay", { encrypted: "no" }),
      'network option encrypted "no" is neither true nor false',
    ],
    ["no subnet", ipam({ subnet: "10.1.0.0" }), "invalid subnet 10.1.0.0"],
    ["a tiny subnet", ipam({ subnet: "10.1.0.0/30" }), "subnet 10.1.0.0/30 is too small"],
    ["a tiny IPv6 subnet", ipam({ subnet: "fd01::/126" }), "subnet fd01::/126 is too small"],
    ["an IPv6 gateway outside", ipam({ subnet: "fd01::/64", gateway: "fd02::1" }), "does not contain gateway fd02::1"],
    ["a gateway outside", ipam({ subnet: "10.1.0.0/24", gateway: "10.2.0.1" }), "does not contain gateway 10.2.0.1"],
    ["a range outside", ipam({ subnet: "10.1.0.0/24", range: "10.1.0.0/16" }), "does not contain range 10.1.0.0/16"],
    ["overlapping subnets", ipam({ subnet: "10.1.0.0/16" }, { subnet: "10.1.2.0/24" }), "overlaps another subnet"],
    ["an attachable ingress", network({ ingress: true, attachable: true }), "ingress network cannot be attachable"],
    [
      "the label of predefined networks",
      network({ annotations: Annotations.create({ name: "n", labels: { "com.docker.swarm.predefined": "true" } }) }),
      "PermissionDenied: label com.docker.swarm.predefined",
    ],
  ])("refuses %s", (_what, spec, message) => {
    expect(refusal(() => validateNetworkSpec(spec))).toContain(message);
  });

  it("accepts macvlan and ipvlan on one of several devices", () => {
    const options = { parent: "eth0,ens3.50", macvlan_mode: "private" };
    for (const spec of [driver("macvlan", options), driver("ipvlan", { parent: "eth0", ipvlan_mode: "l3" })]) {
      expect(validateNetworkSpec(spec)).toBe(spec);
    }
  });

  it("accepts a subnet with gateway and range", () => {
    const spec = ipam({ subnet: "10.1.0.0/24", gateway: "10.1.0.254", range: "10.1.0.128/25" });
    expect(validateNetworkSpec(spec)).toBe(spec);
  });

  it.each(["", "true", "false"])("accepts the option encrypted with the value %j", (encrypted) => {
    const spec = driver("overlay", { encrypted });
    expect(validateNetworkSpec(spec)).toBe(spec);
  });

  it("accepts subnets of both families, and IPv6 without a subnet", () => {
    const both = ipam({ subnet: "10.1.0.0/24" }, { subnet: "fd01::/64", range: "fd01::8000/113", gateway: "fd01::1" });
    expect(validateNetworkSpec(both)).toBe(both);
    const asked = network({ ipv6Enabled: true });
    expect(validateNetworkSpec(asked)).toBe(asked);
  });
});

describe("validateClusterSpec", () => {
  const cluster = (init: Partial<ClusterSpec>) => ClusterSpec.create({ annotations: annotations("default"), ...init });
  const empty = ClusterSpec.create();
  const own = (name: string, value: string) =>
    cluster({ annotations: Annotations.create({ name: "default", labels: { [`io.starling.${name}`]: value } }) });

  it.each<[string, ClusterSpec, string]>([
    ["another name", cluster({ annotations: annotations("x") }), "modification of cluster name is not allowed"],
    [
      "certificates for minutes",
      cluster({ caConfig: { ...empty.caConfig, nodeCertExpiry: { seconds: 60, nanos: 0 } } }),
      "minimum certificate expiry time is: 1h0m0s",
    ],
    [
      "a negative heartbeat",
      cluster({ dispatcher: { ...empty.dispatcher, heartbeatPeriod: negative } }),
      "heartbeat time period cannot be a negative duration",
    ],
    ["no rate", own("rebalance.rate", "0"), '"0" is not a number of tasks a minute, from 1 to 6000'],
    ["no time to settle", own("rebalance.settle", "-1s"), '"-1s" is not a duration of at most 168h'],
    ["no strategy", own("placement-strategy", ""), '"" must be one of spread, binpack'],
    [
      "raft heartbeats as far apart as elections",
      cluster({ raft: { ...empty.raft, heartbeatTick: 9, electionTick: 9 } }),
      "raft: heartbeat tick 9 must be below election tick 9",
    ],
  ])("refuses %s", (_what, spec, message) => {
    expect(refusal(() => validateClusterSpec(spec))).toContain(message);
  });
});

describe("secrets and configs", () => {
  const bytes = (length: number) => new Uint8Array(length);
  it.each<[string, () => unknown, string]>([
    ["empty secret", () => validateSecretSpec(SecretSpec.create({ annotations: annotations("s") })), "it has 0"],
    [
      "secret of 500 KiB",
      () => validateSecretSpec(SecretSpec.create({ annotations: annotations("s"), data: bytes(512000) })),
      "less than 512000 bytes",
    ],
    [
      "config of 1000 KiB",
      () => validateConfigSpec(ConfigSpec.create({ annotations: annotations("c"), data: bytes(1024000) })),
      "less than 1024000 bytes",
    ],
    [
      "config with a slash",
      () => validateConfigSpec(ConfigSpec.create({ annotations: annotations("a/b"), data: bytes(1) })),
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]: "a/b"',
    ],
  ])("refuses an %s", (_what, check, message) => {
    expect(refusal(check)).toContain(message);
  });
});
