import { createServer } from "node:http";
import { type Logger, type Metrics, SwarmError } from "@starling/base";
import { splitAddress } from "./flags.ts";
import { collectProcessMetrics } from "./process-metrics.ts";

/** Serves `GET /metrics` in Prometheus' text format at `address`; `collect` brings gauges up to date before each answer. */
export async function startMetricsServer(options: {
  readonly address: string;
  readonly metrics: Metrics;
  readonly collect: () => void | Promise<void>;
  readonly log: Logger;
}): Promise<{ close(): Promise<void> }> {
  const { metrics, log } = options;
  const server = createServer((request, response) => {
    if (request.method !== "GET" || request.url?.split("?")[0] !== "/metrics") {
      response.writeHead(404, { "content-type": "text/plain" }).end("metrics are at /metrics\n");
      return;
    }
    const answer = async () => {
      collectProcessMetrics(metrics);
      await options.collect();
      const body = await metrics.render();
      response.writeHead(200, { "content-type": metrics.contentType }).end(body);
    };
    answer().catch((thrown) => {
      log.error("metrics not collected", { error: SwarmError.from(thrown).message });
      response.writeHead(500).end();
    });
  });
  const { host, port } = splitAddress(options.address)!;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        new SwarmError("Unavailable", `--listen-metrics ${options.address}: ${error.code}: choose another address`),
      ),
    );
    server.listen(port, host === "" ? undefined : host, resolve);
  });
  return {
    close: () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
