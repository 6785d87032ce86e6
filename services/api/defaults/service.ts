/** Pure: no clock, no I/O, no randomness. */

import {
  ContainerSpec_DNSConfig,
  ContainerSpec_PullOptions,
  Placement,
  ResourceRequirements,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  type ServiceSpec,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from "../gen/messages.js";

/** Time between the stop signal and the kill of a container. */
export const defaultStopGracePeriod = { seconds: 10, nanos: 0 };

/** What a service gets where its spec is silent (swarmkit api/defaults/service.go). */
export const defaultRestartPolicy: RestartPolicy = RestartPolicy.create({
  condition: RestartPolicy_RestartCondition.ANY,
  delay: { seconds: 5, nanos: 0 },
});

/** Holds for updates and for rollbacks. */
export const defaultUpdateConfig: UpdateConfig = UpdateConfig.create({
  parallelism: 1,
  failureAction: UpdateConfig_FailureAction.PAUSE,
  monitor: { seconds: 5, nanos: 0 },
  order: UpdateConfig_UpdateOrder.STOP_FIRST,
});

/** `spec` with every silent field spoken: for display, and for loops that want no `undefined`. */
export function withServiceDefaults(spec: ServiceSpec): ServiceSpec {
  const { container, restart } = spec.task;
  return {
    ...spec,
    task: {
      ...spec.task,
      container: container && {
        ...container,
        stopGracePeriod: container.stopGracePeriod ?? defaultStopGracePeriod,
        pullOptions: container.pullOptions ?? ContainerSpec_PullOptions.create(),
        dnsConfig: container.dnsConfig ?? ContainerSpec_DNSConfig.create(),
      },
      resources: spec.task.resources ?? ResourceRequirements.create(),
      restart: restart ? { ...restart, delay: restart.delay ?? defaultRestartPolicy.delay } : defaultRestartPolicy,
      placement: spec.task.placement ?? Placement.create(),
    },
    update: withUpdateDefaults(spec.update),
    rollback: withUpdateDefaults(spec.rollback),
  };
}

function withUpdateDefaults(config: UpdateConfig | undefined): UpdateConfig {
  return config ? { ...config, monitor: config.monitor ?? defaultUpdateConfig.monitor } : defaultUpdateConfig;
}
