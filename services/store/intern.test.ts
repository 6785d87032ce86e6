import { Annotations, ContainerSpec, Service, Task, TaskSpec, Version } from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Interner, share } from "./intern.ts";

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom("", "a", "b", 0, 1, true, undefined, null),
    fc.uint8Array({ maxLength: 3 }),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom("a", "b", "c", "__proto__", "toString"), tie("any"), { noNullPrototype: true }),
  ),
})).any;

describe("share", () => {
  it("gives what equals the value, leaves both as they were, and is the model when they are equal", () => {
    fc.assert(
      fc.property(value, value, (given, model) => {
        const [givenBefore, modelBefore] = [structuredClone(given), structuredClone(model)];
        expect(share(given, model)).toStrictEqual(givenBefore);
        expect(given).toStrictEqual(givenBefore);
        expect(model).toStrictEqual(modelBefore);
        expect(share(structuredClone(model), model)).toBe(model);
      }),
      { numRuns: 300, seed: 3 },
    );
  });

  it("shares the equal parts of what differs, at every depth", () => {
    const model = { a: { b: { c: [1] }, d: 1 }, e: [{ f: {} }, { g: 1 }] };
    const shared = share({ a: { b: { c: [1] }, d: 2 }, e: [{ f: {} }, { g: 2 }] }, model);
    expect(shared.a.b).toBe(model.a.b);
    expect(shared.e[0]).toBe(model.e[0]);
    expect(shared.e[1]).toEqual({ g: 2 });
  });
});

describe("Interner", () => {
  const encoded = (id: string, image: string, specVersion: number) =>
    Task.encode(
      Task.create({
        id,
        serviceId: "s1",
        specVersion: Version.create({ index: specVersion }),
        spec: TaskSpec.create({ container: ContainerSpec.create({ image }) }),
      }),
    );

  it("keeps one spec for each spec version of a service, in whatever order its tasks come", () => {
    const interner = new Interner();
    const specs = Array.from({ length: 40 }, (_, n) => {
      const object = Task.decode(encoded(`t${n}`, `web:${n % 4}`, n % 4));
      return (interner.intern({ kind: "task", action: "create", object }, undefined) as Task).spec;
    });
    expect(new Set(specs).size).toBe(4);
    expect(specs[6]).toEqual(Task.decode(encoded("", "web:2", 0)).spec);
  });

  it("shares an update's parts with what it replaces", () => {
    const interner = new Interner();
    const old = Service.create({
      id: "s1",
      spec: { ...Service.create().spec, annotations: Annotations.create({ name: "a" }) },
    });
    const object = Service.decode(Service.encode({ ...old, pendingDelete: true }));
    const shared = interner.intern({ kind: "service", action: "update", object }, old) as Service;
    expect(shared).toEqual(object);
    expect(shared.spec).toBe(old.spec);
  });
});
