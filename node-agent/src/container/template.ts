/** Pure: no clock, no I/O, no randomness. */
import { type Driver, type Task, taskName } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";
import { commonFunctions, render, type Scope, TemplateError, type Value } from "./template-language.ts";

/** The node, as templates name it. */
export interface TemplateNode {
  readonly id: string;
  readonly hostname: string;
  readonly os: string;
  readonly architecture: string;
}

/** What the payload of a secret or config may refer to besides: by the names of the files that the task gets. */
export interface Payloads {
  secret(target: string): Uint8Array | undefined;
  config(target: string): Uint8Array | undefined;
}

/**
 * Expands `{{.Service.Name}}` and its like, the fields that Swarm gives to Go templates in host names, environment
 * values and mounts: .Service.ID, .Service.Name, .Service.Labels.KEY (or `index .Service.Labels "KEY"`), .Task.ID,
 * .Task.Name, .Task.Slot, .Node.ID, .Node.Hostname, .Node.Platform.OS, .Node.Platform.Architecture. Anything else in
 * braces throws FatalTaskError, naming it.
 */
export function expandTemplate(text: string, task: Task, node: TemplateNode): string {
  if (!text.includes("{{")) return text;
  return rendered(text, `template ${JSON.stringify(text)}`, {
    field: fieldsOf(task, node),
    functions: commonFunctions,
  });
}

/**
 * The payload of a secret or config for one task: as it is, or expanded when its templating is `golang`. Besides what
 * `expandTemplate` knows there are `env "NAME"`, `secret "FILE"` and `config "FILE"`. Throws FatalTaskError that names
 * `what`.
 */
export function expandPayload(
  what: string,
  spec: { readonly data: Uint8Array; readonly templating?: Driver | undefined },
  task: Task,
  node: TemplateNode,
  payloads: Payloads,
): Uint8Array {
  if (spec.templating === undefined) return spec.data;
  const { name } = spec.templating;
  if (name !== "golang") throw new FatalTaskError(`${what}: templating "${name}" is unknown: use golang`);
  const payload =
    (noun: "secret" | "config") =>
    (target: Value = "") => {
      const found = payloads[noun](String(target));
      if (found === undefined) throw new TemplateError(`${noun} target ${target} not found`);
      return Buffer.from(found).toString("utf8");
    };
  const environment = new Map<string, string>();
  for (const entry of task.spec.container?.env ?? []) {
    const [variable, value] = splitPair(expandTemplate(entry, task, node));
    environment.set(variable, value);
  }
  const functions: Scope["functions"] = {
    ...commonFunctions,
    env: (variable = "") => environment.get(String(variable)) ?? "",
    secret: payload("secret"),
    config: payload("config"),
  };
  const text = Buffer.from(spec.data).toString("utf8");
  return Buffer.from(rendered(text, what, { field: fieldsOf(task, node), functions }));
}

function rendered(text: string, what: string, scope: Scope): string {
  try {
    return render(text, scope);
  } catch (thrown) {
    if (thrown instanceof TemplateError) throw new FatalTaskError(`${what}: ${thrown.message}`);
    throw thrown;
  }
}

function splitPair(entry: string): readonly [name: string, value: string] {
  const at = entry.indexOf("=");
  return at < 0 ? [entry, ""] : [entry.slice(0, at), entry.slice(at + 1)];
}

function fieldsOf(task: Task, node: TemplateNode): (path: string) => Value | undefined {
  const { labels, name } = task.serviceAnnotations;
  return (path) => {
    if (path.startsWith(".Service.Labels.")) return labels[path.slice(".Service.Labels.".length)] ?? "";
    switch (path) {
      case ".Service.ID":
        return task.serviceId;
      case ".Service.Name":
        return name;
      case ".Service.Labels":
        return labels;
      case ".Task.ID":
        return task.id;
      case ".Task.Name":
        return taskName(task);
      case ".Task.Slot":
        // Tasks of global services have none; Swarm shows their node there.
        return task.slot === 0 ? task.nodeId : String(task.slot);
      case ".Node.ID":
        return node.id;
      case ".Node.Hostname":
        return node.hostname;
      case ".Node.Platform.OS":
        return node.os;
      case ".Node.Platform.Architecture":
        return node.architecture;
      default:
        return undefined;
    }
  };
}
