import * as api from "@starling/api";
import { formatTimestamp } from "./time.ts";

type Codec = api.MessageCodec<object>;
type Names = Readonly<Record<number, string>>;

/** One JSON document, readable, with a newline at its end. */
export function formatJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/**
 * A message by protobuf's JSON mapping (proto.dev "JSON Mapping"): camelCase keys, states and kinds as words, bytes in
 * base64, timestamps in RFC 3339, durations in seconds with an `s`. Unset message fields are left out.
 */
export function messageToJson<T extends object>(codec: api.MessageCodec<T>, message: T): Record<string, unknown> {
  const values = message as Readonly<Record<string, unknown>>;
  const keys = new Map(Object.keys(values).map((key) => [plain(key), key]));
  const json: Record<string, unknown> = {};
  for (const field of codec.fields) {
    const key = keys.get(plain(field.name));
    const value = key === undefined ? undefined : values[key];
    if (key === undefined || value === undefined) continue;
    if (field.mapKey !== undefined) {
      json[key] = Object.fromEntries(
        Object.entries(value as object).map(([name, item]) => [name, valueToJson(field.type, item)]),
      );
    } else if (field.repeated) json[key] = (value as readonly unknown[]).map((item) => valueToJson(field.type, item));
    else json[key] = valueToJson(field.type, value);
  }
  return json;
}

/** What a field's name in the .proto and its key in a message have in common. */
function plain(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

function valueToJson(type: api.FieldInfo["type"], value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (typeof value === "bigint") return value.toString();
  const generated = api as unknown as Readonly<Record<string, unknown>>;
  if (type.t === "enum") return (generated[`${type.name}_names`] as Names)[value as number] ?? value;
  if (type.t === "scalar") return value;
  if (type.name === "Timestamp") return formatTimestamp(value as api.Timestamp);
  if (type.name === "Duration") return formatSeconds(value as api.Duration);
  if (type.name === "BoolValue" || type.name === "Int64Value") return (value as { readonly value: unknown }).value;
  return messageToJson(generated[type.name] as Codec, value as object);
}

function formatSeconds({ seconds, nanos }: api.Duration): string {
  const sign = seconds < 0 || nanos < 0 ? "-" : "";
  const fraction = nanos === 0 ? "" : `.${String(Math.abs(nanos)).padStart(9, "0").replace(/0+$/, "")}`;
  return `${sign}${Math.abs(seconds)}${fraction}s`;
}
