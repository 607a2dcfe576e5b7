import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [baseUrl, token, videoId, eventId] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const sent = await client.POST("/v1/events", {
  body: { event_id: eventId!, video_id: videoId!, event_type: "view", occurred_at: new Date().toISOString() },
});
const read = await client.GET("/v1/videos/{video_id}/counts", { params: { path: { video_id: videoId! } } });
const refused = await client.GET("/v1/top", {
  params: { query: { event_type: "view", limit: 100_000 } },
});
console.log(
  JSON.stringify({
    sent: [sent.response.status, sent.data?.accepted],
    read: [read.response.status, read.data?.counts["view"]],
    refused: [refused.response.status, refused.error?.errors?.[0]?.field],
  }),
);
