import { client } from "./hey/client.gen.js";
import { getTop, getVideoCounts, postEvents } from "./hey/sdk.gen.js";

const [baseUrl, token, videoId, eventId] = process.argv.slice(2);
client.setConfig({ baseUrl: baseUrl!, auth: () => token! });

const sent = await postEvents({
  body: { event_id: eventId!, video_id: videoId!, event_type: "view", occurred_at: new Date().toISOString() },
});
const read = await getVideoCounts({ path: { video_id: videoId! } });
const refused = await getTop({ query: { event_type: "view", limit: 100_000 } });
console.log(
  JSON.stringify({
    sent: [sent.response?.status, sent.data?.accepted],
    read: [read.response?.status, read.data?.counts["view"]],
    refused: [refused.response?.status, refused.error?.errors?.[0]?.field],
  }),
);
