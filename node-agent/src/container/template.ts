/** Pure: no clock, no I/O, no randomness. */
import { type Task, taskName } from "@starling/api";
import { FatalTaskError } from "../exec/controller.ts";

/** The node, as templates name it. */
export interface TemplateNode {
  readonly id: string;
  readonly hostname: string;
  readonly os: string;
  readonly architecture: string;
}

/**
 * Expands `{{.Service.Name}}` and its like, the fields that Swarm gives to Go templates in host names, environment
 * values and mounts: .Service.ID, .Service.Name, .Service.Labels.KEY (or `index .Service.Labels "KEY"`), .Task.ID,
 * .Task.Name, .Task.Slot, .Node.ID, .Node.Hostname, .Node.Platform.OS, .Node.Platform.Architecture. Anything else in
 * braces throws FatalTaskError, naming it.
 */
export function expandTemplate(text: string, task: Task, node: TemplateNode): string {
  if (!text.includes("{{")) return text;
  return text.replace(/\{\{-?\s*(.*?)\s*-?\}\}/gs, (_whole, expression: string) => {
    const value = fieldValue(expression, task, node);
    if (value !== undefined) return value;
    throw new FatalTaskError(`template ${JSON.stringify(text)}: {{${expression}}} is not known here`);
  });
}

function fieldValue(expression: string, task: Task, node: TemplateNode): string | undefined {
  const label =
    /^\.Service\.Labels\.([\w-]+)$/.exec(expression) ??
    /^index\s+\.Service\.Labels\s+["`]([^"`]+)["`]$/.exec(expression);
  if (label) return task.serviceAnnotations.labels[label[1]!] ?? "";
  switch (expression) {
    case ".Service.ID":
      return task.serviceId;
    case ".Service.Name":
      return task.serviceAnnotations.name;
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
}
