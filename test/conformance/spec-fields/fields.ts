import { loadRoot } from "../../../proto/load.ts";
import { buildModel, type MessageModel } from "../../../proto/model.ts";

/** Wrapped scalars and times: a value, not a message with fields of its own. */
const values = new Set(["Duration", "Timestamp", "BoolValue", "Int64Value", "Any"]);

const messages = new Map<string, MessageModel>(
  buildModel(loadRoot()).messages.map((message) => [message.name, message]),
);

/** Paths of all fields below a message, as in `task.container.mounts.type`; a message without fields is a field itself. */
export function fieldsOf(messageName: string, within: readonly string[] = []): readonly string[] {
  return messages.get(messageName)!.fields.flatMap(({ name, type }) => {
    const isValue = type.t !== "message" || values.has(type.name) || messages.get(type.name)!.fields.length === 0;
    if (isValue) return [name];
    if (within.includes(type.name)) return [];
    return fieldsOf(type.name, [...within, type.name]).map((below) => `${name}.${below}`);
  });
}

/** Whether the field at a path is a message without fields, as `global` is. */
export function isEmptyMessage(messageName: string, path: string): boolean {
  const [name, ...below] = path.split(".");
  const { type } = messages.get(messageName)!.fields.find((field) => field.name === name)!;
  if (type.t !== "message") return false;
  return below.length > 0 ? isEmptyMessage(type.name, below.join(".")) : messages.get(type.name)!.fields.length === 0;
}

/** What a message has at a path, in all items of the lists on the way. */
export function valuesAt(message: unknown, path: string): readonly unknown[] {
  return path.split(".").reduce<readonly unknown[]>(
    (found, name) =>
      found.flatMap((each) => {
        const value = (each as Readonly<Record<string, unknown>> | undefined)?.[name];
        return value === undefined ? [] : Array.isArray(value) ? value : [value];
      }),
    [message],
  );
}
