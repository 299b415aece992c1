import type { HttpBindings } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { cors } from "hono/cors";
import { routePath } from "hono/route";
import { CHAT_PATH, COMPLETION_PATH } from "../api/inference-request.ts";
import { openApiDocument } from "../api/openapi.ts";
import { renderPrometheus } from "../engine/metrics.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import { modelBody, resolveAgent, servedAgents } from "./agents.ts";
import { answerRequest } from "./answer-route.ts";
import { ApiError, unavailable } from "./api-error.ts";
import { batchAt, batchList, publishedData } from "./batch-routes.ts";
import { channelBody } from "./channel-route.ts";
import type { Gateway } from "./gateway.ts";
import { HealthCheck } from "./health-routes.ts";
import { jobBody } from "./job-route.ts";
import { answerMcp } from "./mcp.ts";

type GatewayEnv = { Bindings: HttpBindings };
export type GatewayContext = Context<GatewayEnv>;

/** Headers of answers that pages from elsewhere may read. */
const EXPOSED = [PAYMENT_HEADERS.required, PAYMENT_HEADERS.response, "x-openledger-job", "retry-after"];
const METHODS: Record<string, string> = { [CHAT_PATH]: "POST", [COMPLETION_PATH]: "POST", "/mcp": "POST" };

/** The routes of a gateway. */
export function createApp(gateway: Gateway): Hono<GatewayEnv> {
  const { options, limits, metrics, desk } = gateway;
  const app = new Hono<GatewayEnv>();
  const health = new HealthCheck(gateway);

  app.use(async (c, next) => {
    const start = performance.now();
    await next();
    // Nobody reads what HEAD leaves out, and what is not read to its end holds its file open.
    if (c.req.method === "HEAD") await c.res.body?.cancel();
    // A page of another origin must not be able to guess what an answer is.
    c.res.headers.set("x-content-type-options", "nosniff");
    if (gateway.isDraining) c.res.headers.set("connection", "close");
    // From here on the client has to read: whoever leaves all of it lying is cut off.
    c.env.outgoing.setTimeout(limits.unreadMs);
    metrics.countRequest(routePath(c, -1), c.req.method, c.res.status, (performance.now() - start) / 1_000);
  });
  if (options.cors) {
    app.use(cors({ origin: [...options.cors], exposeHeaders: EXPOSED, maxAge: 86_400 }));
  }
  for (const path of ["/v1/*", "/mcp"]) {
    app.use(path, async (c, next) => {
      const takesJobs = c.req.method === "POST";
      if (gateway.isDraining && takesJobs) throw unavailable("This node is shutting down. Ask another.");
      await next();
    });
  }

  app.post(CHAT_PATH, (c) => answerRequest(c, CHAT_PATH, gateway));
  app.post(COMPLETION_PATH, (c) => answerRequest(c, COMPLETION_PATH, gateway));
  app.post("/mcp", (c) => answerMcp(c, gateway));
  app.get("/v1/models", (c) => c.json({ object: "list", data: servedAgents(options).map(modelBody) }));
  app.get("/v1/models/:id{.+}", (c) => c.json(modelBody(resolveAgent(c.req.param("id"), options))));
  app.get("/v1/jobs/:id", async (c) =>
    c.json(await jobBody(c.req.param("id"), c.req.header("x-openledger-salt"), gateway)),
  );
  app.get("/v1/channels/:id", async (c) => c.json(await channelBody(c.req.param("id"), c.req.query("since"), gateway)));
  app.get("/v1/batches", (c) => c.json(batchList(c.req.query("before"), gateway)));
  app.get("/v1/batches/:height", (c) => c.json(batchAt(c.req.param("height"), gateway)));
  app.get("/published/:name", (c) => publishedData(c.req.param("name"), gateway));
  app.get("/health/live", (c) => c.json({ status: "live" }));
  for (const path of ["/health", "/health/ready"]) {
    app.get(path, async (c) => {
      const body = await health.read();
      return c.json(body, body.status === "ready" ? 200 : 503);
    });
  }
  const openApi = JSON.stringify(openApiDocument());
  app.get("/openapi.json", (c) => c.body(openApi, 200, { "content-type": "application/json" }));
  app.get("/metrics", async (c) => {
    const { settlement_age_seconds: age } = await health.read();
    const others = await Promise.all((options.metrics ?? []).map((read) => read().catch(() => [])));
    const settlement = age === null ? [] : [{ labels: {}, value: age }];
    const families = [
      ...others.flat(),
      ...metrics.families(desk.slots.taken),
      {
        name: "openledger_settlement_age_seconds",
        type: "gauge" as const,
        help: "Seconds since the last round of settling in which nothing failed",
        samples: settlement,
      },
    ];
    return c.body(renderPrometheus(families), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  });

  app.notFound((c) => {
    const { path, method } = c.req;
    const allowed = METHODS[path] ?? (isKnown(app, path) ? "GET" : undefined);
    if (allowed === undefined || allowed === method) {
      return new ApiError(404, `There is nothing at ${method} ${path}.`, { code: "not_found" }).response();
    }
    const message = `${path} takes ${allowed}, not ${method}.`;
    return new ApiError(405, message, { code: "method_not_allowed", headers: { allow: allowed } }).response();
  });
  app.onError((error) => gateway.errorOf(error).response());
  return app;
}

/** Whether some route takes GET at a path. */
function isKnown(app: Hono<GatewayEnv>, path: string): boolean {
  const [matched] = app.router.match("GET", path);
  return matched.some(([[, route]]) => route.path !== "/*" && route.path !== "/v1/*" && route.method === "GET");
}
