import { describe, expect, it } from "vitest";
import {
  Annotations,
  consumeGeneric,
  discreteResource,
  type GenericResource,
  genericEnvironment,
  genericKind,
  genericValue,
  hasEnoughGeneric,
  parseGenericResources,
  selectGeneric,
  Task,
  taskName,
} from "./index.ts";

const text = (resources: readonly GenericResource[]) => resources.map((r) => `${genericKind(r)}=${genericValue(r)}`);
const offered = parseGenericResources(["gpu=4", "ssd=a", "ssd=b", "ssd=c"]);

describe("generic resources", () => {
  it("parses counts and sets of names", () => {
    expect(text(offered)).toEqual(["gpu=4", "ssd=a", "ssd=b", "ssd=c"]);
    expect(offered[0]?.discreteResourceSpec).toEqual({ kind: "gpu", value: 4 });
  });

  it.each([
    [["gpu"], "incorrect term gpu"],
    [["gpu="], "incorrect term gpu="],
    [["a=b=c"], "incorrect term a=b=c"],
    [["gpu=-1"], "cannot ask for negative resource gpu"],
    [["gpu=1", "gpu=x"], "mixed discrete and named resources"],
  ])("refuses %s", (terms, problem) => {
    expect(() => parseGenericResources(terms)).toThrow(problem);
  });

  it("gives a task a count or that many names, and takes them off the node's list", () => {
    const assigned = selectGeneric(offered, [discreteResource("gpu", 3), discreteResource("ssd", 2)]);
    expect(text(assigned)).toEqual(["gpu=3", "ssd=a", "ssd=b"]);
    expect(text(consumeGeneric(offered, assigned))).toEqual(["gpu=1", "ssd=c"]);
    expect(genericEnvironment(assigned, "docker_resource")).toEqual([
      "DOCKER_RESOURCE_GPU=3",
      "DOCKER_RESOURCE_SSD=a,b",
    ]);
  });

  it("takes the sum of several tasks' counts", () => {
    expect(text(consumeGeneric(offered, [discreteResource("gpu", 1), discreteResource("gpu", 2)]))[0]).toBe("gpu=1");
    expect(text(consumeGeneric(offered, [discreteResource("gpu", 4)]))).toEqual(["ssd=a", "ssd=b", "ssd=c"]);
  });

  it("covers no more than there is", () => {
    const enough = (kind: string, value: number) => hasEnoughGeneric(offered, discreteResource(kind, value));
    expect([enough("gpu", 4), enough("gpu", 5), enough("ssd", 3), enough("ssd", 4), enough("fpga", 0)]).toEqual([
      true,
      false,
      true,
      false,
      false,
    ]);
  });
});

describe("taskName", () => {
  it("is the annotation, else service, slot or node, and id", () => {
    const serviceAnnotations = Annotations.create({ name: "web" });
    expect(taskName(Task.create({ id: "t", serviceAnnotations, slot: 2 }))).toBe("web.2.t");
    expect(taskName(Task.create({ id: "t", serviceAnnotations, nodeId: "n1" }))).toBe("web.n1.t");
    expect(taskName(Task.create({ id: "t", annotations: Annotations.create({ name: "own" }) }))).toBe("own");
  });
});
