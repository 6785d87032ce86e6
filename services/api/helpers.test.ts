import { describe, expect, it } from "vitest";
import {
  Annotations,
  ContainerSpec,
  ContainerSpec_PullOptions,
  cidrContains,
  cidrOverlaps,
  durationMs,
  durationOfMs,
  Endpoint,
  EndpointSpec,
  formatAddress,
  isTaskDirty,
  Node,
  NodeDescription,
  Placement,
  PortConfig,
  parseAddress,
  parseCidr,
  parseImageReference,
  Service,
  ServiceSpec,
  sameBut,
  sameValue,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  withServiceDefaults,
} from "./index.ts";

describe("parseImageReference", () => {
  it.each([
    ["nginx", { domain: "docker.io", path: "library/nginx", tag: "", digest: "" }],
    ["team/web:1", { domain: "docker.io", path: "team/web", tag: "1", digest: "" }],
    ["10.0.0.2:5000/web:1", { domain: "10.0.0.2:5000", path: "web", tag: "1", digest: "" }],
    ["localhost/a/b", { domain: "localhost", path: "a/b", tag: "", digest: "" }],
    ["[::1]:5000/web", { domain: "[::1]:5000", path: "web", tag: "", digest: "" }],
  ])("reads %s", (text, reference) => {
    expect(parseImageReference(text)).toEqual(reference);
  });

  it.each(["", "/a", "a//b", "a b", "-a", "a..b", "http://x/y", "x:y:z", "f".repeat(64), `a/${"b".repeat(256)}`])(
    "refuses %j",
    (text) => {
      expect(() => parseImageReference(text)).toThrow("is not a valid repository/tag");
    },
  );
});

describe("addresses", () => {
  it("finds addresses and subnets within subnets", () => {
    const net = parseCidr("10.1.2.3/16")!;
    expect(cidrContains(net, parseAddress("10.1.255.255")!)).toBe(true);
    expect(cidrContains(net, parseAddress("10.2.0.0")!)).toBe(false);
    expect(cidrOverlaps(parseCidr("10.0.0.0/8")!, net)).toBe(true);
    expect(cidrContains(parseCidr("fd00::/8")!, parseAddress("fd12::1:0:2")!)).toBe(true);
  });

  it.each([
    ["FD01:0:0:0:0:0:0:50", "fd01::50"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0"],
    ["10.0.0.9", "10.0.0.9"],
  ])("writes %s as %s", (text, canonical) => {
    expect(formatAddress(parseAddress(text)!)).toBe(canonical);
  });

  it.each(["10.0.0.0/33", "10.0.0/8", "010.0.0.1/8", "::1::2/64", "1:2:3:4:5:6:7:8:9/64", "10.0.0.0/", "x/8"])(
    "refuses %s",
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );
});

it("durations keep sign and fraction through milliseconds", () => {
  for (const ms of [0, 1.5, -1500.25, 90_061_001]) expect(durationMs(durationOfMs(ms))).toBe(ms);
});

it("sameValue takes unset for absent and looks into bytes and maps", () => {
  expect(sameValue({ a: undefined, b: [1] }, { b: [1] })).toBe(true);
  expect(sameValue({ b: [1] }, { b: [1], a: 0 })).toBe(false);
  expect(sameValue(new Uint8Array([1, 2]), Buffer.from([1, 2]))).toBe(true);
  expect(sameValue({ m: { k: "1" } }, { m: { k: "2" } })).toBe(false);
  const same = sameBut({ a: [1], b: 0, c: "" }, "b");
  expect(same({ a: [2], b: 1, c: "x" }, { a: [2], b: 2, c: "x" })).toBe(true);
  expect(same({ a: [2], b: 1, c: "x" }, { a: [3], b: 1, c: "x" })).toBe(false);
  expect(same({ a: [2], b: 1, c: "x" }, { a: [2], b: 1, c: "y" })).toBe(false);
});

it("withServiceDefaults speaks where the spec is silent and nowhere else", () => {
  const spec = ServiceSpec.create({ task: TaskSpec.create({ container: ContainerSpec.create({ image: "a" }) }) });
  const filled = withServiceDefaults(spec);
  expect(filled.task.container?.stopGracePeriod).toEqual({ seconds: 10, nanos: 0 });
  expect(filled.update).toMatchObject({ parallelism: 1, monitor: { seconds: 5, nanos: 0 } });
  expect(withServiceDefaults(filled)).toEqual(filled);
});

describe("isTaskDirty", () => {
  const spec = TaskSpec.create({ container: ContainerSpec.create({ image: "web:1" }) });
  const service = (task: TaskSpec) =>
    Service.create({
      spec: ServiceSpec.create({ task, annotations: Annotations.create() }),
      specVersion: { index: 9 },
    });
  const running = Task.create({
    spec,
    specVersion: { index: 1 },
    desiredState: TaskState.RUNNING,
    status: TaskStatus.create({ state: TaskState.RUNNING }),
    endpoint: Endpoint.create(),
  });
  const node = Node.create({ id: "n1", description: NodeDescription.create({ hostname: "a" }) });
  const placed = (constraint: string) => ({ ...spec, placement: Placement.create({ constraints: [constraint] }) });

  it.each([
    ["clean: same spec under a new version", spec, false],
    ["dirty: another image", { ...spec, container: ContainerSpec.create({ image: "web:2" }) }, true],
    ["clean: new constraints that the node meets", placed("node.id==n1"), false],
    ["dirty: new constraints that the node does not meet", placed("node.id==n2"), true],
    [
      "clean: other registry credentials while it runs",
      {
        ...spec,
        container: { ...spec.container!, pullOptions: ContainerSpec_PullOptions.create({ registryAuth: "x" }) },
      },
      false,
    ],
    ["dirty: forced", { ...spec, forceUpdate: 1 }, true],
  ])("%s", (_what, wanted, dirty) => {
    expect(isTaskDirty(service(wanted), running, node)).toBe(dirty);
  });

  it("is dirty when its ports differ, although its placement differs, too, and its node fits", () => {
    const wanted = service(placed("node.id==n1"));
    const endpoint = EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] });
    expect(isTaskDirty({ ...wanted, spec: { ...wanted.spec, endpoint } }, running, node)).toBe(true);
  });

  it("is clean when the versions agree, whatever else differs", () => {
    const other = service({ ...spec, forceUpdate: 7 });
    expect(isTaskDirty({ ...other, specVersion: { index: 1 } }, running, node)).toBe(false);
  });
});
