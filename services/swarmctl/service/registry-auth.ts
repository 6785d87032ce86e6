import { ContainerSpec_PullOptions, type Service, type ServiceSpec, type TaskSpec } from "@starling/api";
import type { ServiceFlags } from "./flags.ts";

/**
 * Puts what this user has of credentials for the image's registry into a spec, if `--with-registry-auth` asks for that.
 * Without it what the service has stays.
 */
export async function registryAuthFor(flags: ServiceFlags): Promise<(spec: ServiceSpec) => ServiceSpec> {
  if (!flags.withRegistryAuth) return (spec) => spec;
  const { registryAuthOf } = await import("../registry/docker-config.ts");
  return (spec) => {
    const { container } = spec.task;
    if (container === undefined) return spec;
    const pullOptions = ContainerSpec_PullOptions.create({ registryAuth: registryAuthOf(container.image) });
    return { ...spec, task: { ...spec.task, container: { ...container, pullOptions } } };
  };
}

/** A service as it is shown: credentials stay hidden. */
export function withoutCredentials(service: Service): Service {
  const hidden = (spec: ServiceSpec): ServiceSpec => ({ ...spec, task: taskWithoutCredentials(spec.task) });
  const { previousSpec } = service;
  return { ...service, spec: hidden(service.spec), previousSpec: previousSpec && hidden(previousSpec) };
}

export function taskWithoutCredentials(spec: TaskSpec): TaskSpec {
  return spec.container?.pullOptions === undefined
    ? spec
    : { ...spec, container: { ...spec.container, pullOptions: undefined } };
}
