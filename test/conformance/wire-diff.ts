/** Pure: no clock, no I/O, no randomness. */

/** A field in the reference's shape. `type` is a scalar's name or a full protobuf name; absent for maps. */
export interface WireField {
  readonly name: string;
  readonly number: number;
  readonly type?: string;
  readonly map?: { readonly key: string; readonly value: string };
  readonly repeated?: boolean;
  readonly packed?: boolean;
  readonly oneof?: string;
  readonly enum?: boolean;
  readonly alwaysSent?: boolean;
}

export interface WireMethod {
  readonly name: string;
  readonly path: string;
  readonly request: string;
  readonly response: string;
  readonly stream: "none" | "client" | "server" | "bidi";
  readonly roles?: readonly string[];
  readonly access?: "any";
}

/** The API as data: what `swarmkit-v1.json` holds. */
export interface Wire {
  readonly files: Readonly<Record<string, { readonly syntax: string }>>;
  readonly messages: Readonly<
    Record<
      string,
      { readonly file: string; readonly fields: readonly WireField[]; readonly watchSelectors?: readonly string[] }
    >
  >;
  readonly enums: Readonly<Record<string, { readonly values: Readonly<Record<string, number>> }>>;
  readonly services: Readonly<Record<string, { readonly methods: readonly WireMethod[] }>>;
}

/** What the generated registry says, in comparable words: one flat map from a path to a fact. */
export type Facts = ReadonlyMap<string, string>;

const packable = /^(double|float|u?int(32|64)|sint(32|64)|s?fixed(32|64)|bool)$/;

/** The reference's facts. In proto3 a repeated number, bool or enum is packed unless the file says otherwise. */
export function factsOfWire(wire: Wire): Facts {
  const facts = new Map<string, string>();
  for (const [name, message] of Object.entries(wire.messages)) {
    facts.set(`message ${name}`, selectorsFact(message.watchSelectors));
    const proto3 = wire.files[message.file]?.syntax === "proto3";
    for (const field of message.fields) {
      const type = field.map ? `map<${field.map.key},${field.map.value}>` : (field.type ?? "");
      const byDefault = proto3 && field.repeated === true && (field.enum === true || packable.test(type));
      facts.set(`field ${name}.${field.name}`, fieldFact({ ...field, type, packed: field.packed ?? byDefault }));
    }
  }
  for (const [name, { values }] of Object.entries(wire.enums)) {
    facts.set(`enum ${name}`, "");
    for (const [key, value] of Object.entries(values)) facts.set(`value ${name}.${key}`, String(value));
  }
  for (const [name, { methods }] of Object.entries(wire.services)) {
    facts.set(`service ${name}`, "");
    for (const method of methods) facts.set(`method ${name}.${method.name}`, methodFact(method));
  }
  return facts;
}

/** One field's fact: `3: docker.swarmkit.v1.TaskSpec alwaysSent`. */
export function fieldFact(field: {
  readonly number: number;
  readonly type: string;
  readonly repeated?: boolean | undefined;
  readonly packed?: boolean | undefined;
  readonly oneof?: string | undefined;
  readonly alwaysSent?: boolean | undefined;
}): string {
  let fact = `${field.number}: ${field.type}`;
  if (field.repeated) fact += " repeated";
  if (field.packed) fact += " packed";
  if (field.oneof !== undefined) fact += ` oneof ${field.oneof}`;
  if (field.alwaysSent) fact += " alwaysSent";
  return fact;
}

export function methodFact(method: Omit<WireMethod, "name">): string {
  const who = method.roles ? [...method.roles].sort().join(" ") : (method.access ?? "nobody");
  return `${method.path} ${method.request} -> ${method.response}, streams: ${method.stream}, roles: ${who}`;
}

export function selectorsFact(selectors: readonly string[] | undefined): string {
  return selectors === undefined ? "" : `watch selectors: ${[...selectors].sort().join(" ")}`;
}

/** Every difference as a line that names the place, what the reference says and what we have. Empty when equal. */
export function planWireDiff(reference: Facts, ours: Facts): string[] {
  const lines: string[] = [];
  for (const [place, fact] of reference) {
    const own = ours.get(place);
    if (own === undefined) lines.push(`${place}: missing (reference: ${fact})`);
    else if (own !== fact) lines.push(`${place}: ours "${own}", reference "${fact}"`);
  }
  for (const [place, fact] of ours) if (!reference.has(place)) lines.push(`${place}: not in the reference (${fact})`);
  return lines.sort();
}
