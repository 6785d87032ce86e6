import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import * as api from "@starling/api";
import { registry } from "@starling/api";
import { describe, expect, it } from "vitest";
import { type Facts, factsOfWire, fieldFact, methodFact, planWireDiff, selectorsFact, type Wire } from "./wire-diff.ts";

const shared = process.env["STARLING_SHARED"] ?? resolve(import.meta.dirname, "../../../shared");
const path = resolve(shared, "wire/swarmkit-v1.json");
const missing = !existsSync(path);
if (missing) {
  const text = `wire reference ${path} is missing: set STARLING_SHARED to the folder that holds wire/swarmkit-v1.json`;
  if (process.env["CI"]) throw new Error(text);
  console.error(`SKIPPED: ${text}`);
}

/** Full protobuf names by exported name: a field's type is told by what the generated module exports. */
function namesByExport(): ReadonlyMap<string, string> {
  const fullNames = new Map<unknown, string>();
  for (const kind of [registry.messages, registry.enums]) {
    for (const [name, value] of Object.entries(kind)) fullNames.set(value, name);
  }
  const names = new Map<string, string>();
  for (const [name, value] of Object.entries(api)) {
    const full = fullNames.get(value);
    if (full !== undefined) names.set(name, full);
  }
  return names;
}

/** Is this name ours to add freely, outside of the reference? */
const own = (name: string) => name.startsWith("starling.v1.") || name.startsWith("google.protobuf.");

/** The generated registry's facts, without our own package. */
function factsOfRegistry(): Facts {
  const names = namesByExport();
  const facts = new Map<string, string>();
  for (const [name, message] of Object.entries(registry.messages)) {
    if (own(name)) continue;
    facts.set(`message ${name}`, selectorsFact(message.watchSelectors));
    for (const field of message.fields) {
      const type = field.type.t === "scalar" ? field.type.scalar.replace("id64", "uint64") : names.get(field.type.name);
      const whole = field.mapKey === undefined ? type : `map<${field.mapKey},${type}>`;
      facts.set(`field ${name}.${field.name}`, fieldFact({ ...field, type: whole ?? `unknown ${field.type.t}` }));
    }
  }
  for (const [name, values] of Object.entries(registry.enums)) {
    if (own(name)) continue;
    facts.set(`enum ${name}`, "");
    for (const [key, value] of Object.entries(values)) facts.set(`value ${name}.${key}`, String(value));
  }
  for (const [name, service] of Object.entries(registry.services)) {
    if (own(name)) continue;
    facts.set(`service ${name}`, "");
    for (const method of Object.values(service.methods)) {
      const fact = methodFact({
        path: method.path,
        request: method.request.typeName,
        response: method.response.typeName,
        stream: streamKind(method.requestStream, method.responseStream),
        ...(method.roles === "any" ? { access: "any" } : { roles: method.roles }),
      });
      facts.set(`method ${name}.${method.path.split("/").at(-1)}`, fact);
    }
  }
  return facts;
}

function streamKind(request: boolean, response: boolean): "none" | "client" | "server" | "bidi" {
  if (request) return response ? "bidi" : "client";
  return response ? "server" : "none";
}

describe.skipIf(missing)("docker.swarmkit.v1 and raftpb against the wire reference", () => {
  const wire = missing ? undefined : (JSON.parse(readFileSync(path, "utf8")) as Wire & { meta: { counts: object } });

  it("has every message, field, enum value, service, method and role, and nothing else", () => {
    const reference = factsOfWire(wire!);
    expect(reference.size).toBe(287 + 797 + 42 + 165 + 11 + 65);
    expect(planWireDiff(reference, factsOfRegistry())).toEqual([]);
  });

  it("bites: every planted difference is found and named", () => {
    const ours = factsOfRegistry();
    const planted = structuredClone(wire!) as never as {
      messages: Record<string, { fields: Record<string, unknown>[]; watchSelectors?: string[] }>;
      enums: Record<string, { values: Record<string, number> }>;
      services: Record<string, { methods: Record<string, unknown>[] }>;
    };
    const task = planted.messages["docker.swarmkit.v1.Task"]!;
    const field = (name: string) => task.fields.find((candidate) => candidate["name"] === name)!;
    field("id")["number"] = 99;
    field("slot")["type"] = "string";
    field("networks")["repeated"] = false;
    field("spec")["alwaysSent"] = false;
    task.fields.push({ name: "planted", number: 100, type: "bool" });
    task.watchSelectors!.pop();
    delete planted.messages["docker.swarmkit.v1.RaftMember"];
    planted.enums["docker.swarmkit.v1.TaskState"]!.values["RUNNING"] = 1;
    const control = planted.services["docker.swarmkit.v1.Control"]!.methods[0]!;
    control["roles"] = ["swarm-worker"];
    control["stream"] = "server";
    const places = planWireDiff(factsOfWire(planted as never), ours).map((line) => line.split(": ")[0]);
    expect(places).toEqual([
      "field docker.swarmkit.v1.RaftMember.addr",
      "field docker.swarmkit.v1.RaftMember.node_id",
      "field docker.swarmkit.v1.RaftMember.raft_id",
      "field docker.swarmkit.v1.RaftMember.status",
      "field docker.swarmkit.v1.Task.id",
      "field docker.swarmkit.v1.Task.networks",
      "field docker.swarmkit.v1.Task.planted",
      "field docker.swarmkit.v1.Task.slot",
      "field docker.swarmkit.v1.Task.spec",
      "message docker.swarmkit.v1.RaftMember",
      "message docker.swarmkit.v1.Task",
      "method docker.swarmkit.v1.Control.GetNode",
      "value docker.swarmkit.v1.TaskState.RUNNING",
    ]);
  });
});
