import { describe, expect, it } from "vitest";
import {
  Annotations,
  EngineDescription,
  Node,
  NodeDescription,
  NodeRole,
  NodeSpec,
  NodeStatus,
  nodeMatches,
  Platform,
  parseConstraints,
} from "./index.ts";

const node = Node.create({
  id: "n1",
  role: NodeRole.MANAGER,
  spec: NodeSpec.create({ annotations: Annotations.create({ labels: { Disk: "SSD", zone: "eu-1" } }) }),
  status: NodeStatus.create({ addr: "10.0.3.7" }),
  description: NodeDescription.create({
    hostname: "Host-1",
    platform: Platform.create({ os: "linux", architecture: "x86_64" }),
    engine: EngineDescription.create({ labels: { kernel: "6.1" } }),
  }),
});
const bare = Node.create({ id: "n2" });

describe("nodeMatches", () => {
  it.each([
    ["node.id==N1", true],
    ["node.id!=n1", false],
    ["node.hostname == host-1", true],
    ["node.role==manager", true],
    ["node.role!=worker", true],
    ["node.platform.os==LINUX", true],
    ["node.platform.arch==x86_64", true],
    ["node.labels.Disk==ssd", true],
    ["node.labels.disk==ssd", false],
    ["NODE.LABELS.zone==EU-1", true],
    ["node.labels.none!=x", true],
    ["node.labels.constructor==x", false],
    ["engine.labels.kernel==6.1", true],
    ["node.ip==10.0.3.7", true],
    ["node.ip==10.0.3.8", false],
    ["node.ip==10.0.0.0/16", true],
    ["node.ip!=10.0.0.0/16", false],
    ["node.ip==2001:db8::/32", false],
    ["node.ip!=2001:db8::1", true],
    ["node.ip==10.0.0.0/33", false],
    ["node.ip!=10.0.0/16", false],
    ["node.color==red", false],
    ["node.color!=red", false],
    ["node.labels.==x", false],
  ])("%s is %s", (expression, matches) => {
    expect(nodeMatches(parseConstraints([expression]), node)).toBe(matches);
  });

  it("takes what a node lacks for empty", () => {
    const on = (expression: string) => nodeMatches(parseConstraints([expression]), bare);
    expect(on("node.hostname==a")).toBe(false);
    expect(on("node.hostname!=a")).toBe(true);
    expect(on("engine.labels.a!=b")).toBe(true);
    expect(on("node.ip==10.0.0.0/8")).toBe(false);
  });

  it("needs all constraints", () => {
    expect(nodeMatches(parseConstraints(["node.id==n1", "node.role==worker"]), node)).toBe(false);
    expect(nodeMatches([], node)).toBe(true);
  });
});

describe("parseConstraints", () => {
  it.each([
    ["node.role=worker", "constraint expected one operator from ==, != (constraint 'node.role=worker')"],
    ["==worker", "key '' is invalid"],
    ["1node==x", "key '1node' is invalid"],
    ["node.id==", "value '' is invalid"],
    ["node.labels.a==b>c", "value 'b>c' is invalid"],
    ["node.labels.a=='b'", "value ''b'' is invalid"],
  ])("refuses %s", (expression, problem) => {
    expect(() => parseConstraints(["node.id==a", expression])).toThrow(problem);
    expect(() => parseConstraints([expression])).toThrow(expect.objectContaining({ code: "InvalidArgument" }));
  });
});
