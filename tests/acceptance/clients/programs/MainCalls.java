// The main calls with the Java client (library `native`, one request object per call) of openapi-generator.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.EventsApi;
import org.openapitools.client.api.OperatorDeadLettersApi;
import org.openapitools.client.api.OperatorReplaysApi;
import org.openapitools.client.api.UploadsApi;
import org.openapitools.client.api.WebhooksApi;
import org.openapitools.client.model.CreatedWebhook;
import org.openapitools.client.model.DeadLetterView;
import org.openapitools.client.model.DetailedDeadLetter;
import org.openapitools.client.model.EventBody;
import org.openapitools.client.model.NewReplay;
import org.openapitools.client.model.NewWebhook;
import org.openapitools.client.model.ReplayFilter;
import org.openapitools.client.model.ReplayOrCount;
import org.openapitools.client.model.ReplayState;
import org.openapitools.client.model.ReplayView;
import org.openapitools.client.model.WebhookEndpoint;

public class MainCalls {
    private static final long PATIENCE_MS = 30_000;

    public static void main(String[] arguments) throws Exception {
        String key = arguments[1], receiver = arguments[2];
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + key));
        WebhooksApi webhooks = new WebhooksApi(client);
        OperatorDeadLettersApi letters = new OperatorDeadLettersApi(client);
        OperatorReplaysApi replays = new OperatorReplaysApi(client);
        UploadsApi uploads = new UploadsApi(client);

        CreatedWebhook created = webhooks.createWebhook(request(new NewWebhook().url(receiver)));
        WebhookEndpoint webhook = created.getWebhook();
        String refusal = "";
        try {
            webhooks.createWebhook(request(new NewWebhook().url("https://10.0.0.1/")));
        } catch (ApiException refused) {
            refusal = new ObjectMapper().readTree(refused.getResponseBody()).get("detail").asText();
        }
        EventBody event = new EventBody().type("upload.completed").putDataItem("upload", Map.of("id", "1"));
        var publishing = EventsApi.APIPublishEventRequest.newBuilder().eventBody(event).build();
        int deliveries = new EventsApi(client).publishEvent(publishing).getDeliveries();

        var ofWebhook = OperatorDeadLettersApi.APIListDeadLettersRequest.newBuilder().endpointId(webhook.getId()).build();
        DeadLetterView found = eventually(() -> letters.listDeadLetters(ofWebhook).getData().stream().findFirst().orElse(null));
        DetailedDeadLetter letter = letters.getDeadLetter(
            OperatorDeadLettersApi.APIGetDeadLetterRequest.newBuilder().deadLetterId(found.getId()).build());
        NewReplay wanted = new NewReplay().filter(new ReplayFilter().endpointId(webhook.getId()));
        ReplayOrCount replay = replays.createReplay(
            OperatorReplaysApi.APICreateReplayRequest.newBuilder().newReplay(wanted).build());
        var ofReplay = OperatorReplaysApi.APIGetReplayRequest.newBuilder().replayId(replay.getId()).build();
        ReplayView completed = eventually(() -> {
            ReplayView now = replays.getReplay(ofReplay);
            return now.getState() == ReplayState.COMPLETED ? now : null;
        });
        var upload = uploads.createUpload(UploadsApi.APICreateUploadRequest.newBuilder()
            ._file(new File(arguments[3])).phoneColumn("phone").skipMobileLookup(true).build());
        var ofUpload = UploadsApi.APIGetUploadRequest.newBuilder().uploadId(upload.getId()).build();
        var ofEndpoint = WebhooksApi.APIGetWebhookRequest.newBuilder().webhookId(webhook.getId()).build();

        Map<String, Object> answers = new LinkedHashMap<>();
        answers.put("secret_characters", created.getSecret().length());
        answers.put("refusal", refusal);
        answers.put("deliveries", deliveries);
        answers.put("listed", webhooks.listWebhooks().stream().filter(one -> one.getId().equals(webhook.getId())).count());
        answers.put("url", webhooks.getWebhook(ofEndpoint).getUrl());
        answers.put("reason", letter.getReason().getValue());
        answers.put("response_status", letter.getResponse().getStatus());
        answers.put("replayed", completed.getSucceeded());
        answers.put("valid_rows", uploads.getUpload(ofUpload).getValidRowCount());
        System.out.print(new ObjectMapper().writeValueAsString(answers));
    }

    private static WebhooksApi.APICreateWebhookRequest request(NewWebhook body) {
        return WebhooksApi.APICreateWebhookRequest.newBuilder().newWebhook(body).build();
    }

    private static <T> T eventually(Callable<T> find) throws Exception {
        for (long deadline = System.currentTimeMillis() + PATIENCE_MS; System.currentTimeMillis() < deadline; Thread.sleep(100)) {
            T found = find.call();
            if (found != null) {
                return found;
            }
        }
        throw new IllegalStateException("nothing was found within " + PATIENCE_MS + " ms");
    }
}
