/** Pure: no clock, no I/O, no randomness. */

import {
  type GenericResource,
  genericKind,
  genericValue,
  type PortConfig,
  PortConfig_PublishMode,
  portProtocolOf,
  type Service,
  type Task,
} from "@starling/api";

const idDigitsShown = 12;

/** The start of an id, enough to name its object at a prompt. */
export function shortId(id: string, whole = false): string {
  return whole ? id : id.slice(0, idDigitsShown);
}

/** `READY` → `Ready`. */
export function titled(word: string | undefined): string {
  return word ? word[0]!.toUpperCase() + word.slice(1).toLowerCase() : "";
}

/** An image without the digest that its tag was resolved to. */
export function shortImage(image: string): string {
  const at = image.indexOf("@");
  return at > 0 && image.slice(0, at).lastIndexOf(":") > image.lastIndexOf("/", at) ? image.slice(0, at) : image;
}

/** `*:8080->80/tcp` for the routing mesh, `:8080->80/tcp` on the host. */
export function formatPort({ publishedPort, targetPort, protocol, publishMode }: PortConfig): string {
  const every = publishMode === PortConfig_PublishMode.INGRESS ? "*" : "";
  const published = publishedPort === 0 ? "" : `${every}:${publishedPort}->`;
  return `${published}${targetPort}/${portProtocolOf(protocol) ?? protocol}`;
}

/** `gpu=a gpu=b slots=4`; undefined for none. */
export function formatGeneric(resources: readonly GenericResource[]): string | undefined {
  return resources.map((resource) => `${genericKind(resource)}=${genericValue(resource)}`).join(" ") || undefined;
}

/** The ports that a service got, else those it asked for. */
export function portsOf(service: Service): readonly PortConfig[] {
  return service.endpoint?.ports.length ? service.endpoint.ports : (service.spec.endpoint?.ports ?? []);
}

export function modeOf({ spec }: Pick<Service, "spec">): string {
  if (spec.replicated) return "replicated";
  if (spec.global) return "global";
  if (spec.replicatedJob) return "replicated job";
  return spec.globalJob ? "global job" : "";
}

/** A task's slot, or its node's id in a global service. Only replicated jobs (`slotted`) have a slot 0. */
export function placeOf(task: Task, slotted: boolean): string {
  return slotted || task.slot > 0 ? String(task.slot) : task.nodeId;
}
