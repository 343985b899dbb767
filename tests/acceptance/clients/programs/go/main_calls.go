// The main calls with the client of oapi-codegen.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"generated/sendoff"
)

const patience = 30 * time.Second

func main() {
	baseURL, key, receiver, numbers := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	ctx := context.Background()
	client, err := sendoff.NewClientWithResponses(baseURL, sendoff.WithRequestEditorFn(
		func(_ context.Context, request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+key)
			return nil
		}))
	check(err)
	created := existing(client.CreateWebhookWithResponse(ctx, nil, sendoff.NewWebhook{Url: receiver})).JSON200
	refused := existing(client.CreateWebhookWithResponse(ctx, nil, sendoff.NewWebhook{Url: "https://10.0.0.1/"})).JSON400
	refusal := existing(refused.Detail.AsBadRequestDetail0())
	event := existing(client.PublishEventWithResponse(ctx, nil, sendoff.EventBody{
		Type: "upload.completed",
		Data: map[string]interface{}{"upload": map[string]string{"id": "1"}},
	})).JSON202
	webhook := created.Webhook

	found := eventually(func() *sendoff.DeadLetterView {
		params := sendoff.ListDeadLettersParams{EndpointId: &webhook.Id}
		page := existing(client.ListDeadLettersWithResponse(ctx, &params)).JSON200
		if len(page.Data) == 0 {
			return nil
		}
		return &page.Data[0]
	})
	letter := existing(client.GetDeadLetterWithResponse(ctx, found.Id)).JSON200
	filter := sendoff.ReplayFilter{EndpointId: &webhook.Id}
	replay := existing(client.CreateReplayWithResponse(ctx, nil, sendoff.NewReplay{Filter: filter})).JSON202
	completed := eventually(func() *sendoff.ReplayView {
		now := existing(client.GetReplayWithResponse(ctx, *replay.Id)).JSON200
		if now.State != sendoff.ReplayStateCompleted {
			return nil
		}
		return now
	})

	var phones []*sendoff.ListOfNumbers_PhoneNumbers_Item
	rows := strings.Split(strings.TrimSpace(string(existing(os.ReadFile(numbers)))), "\n")
	for _, row := range rows[1:] {
		var phone sendoff.ListOfNumbers_PhoneNumbers_Item
		check(phone.FromListOfNumbersPhoneNumbers0(row))
		phones = append(phones, &phone)
	}
	upload := existing(client.CreateUploadWithResponse(ctx, nil, sendoff.ListOfNumbers{PhoneNumbers: &phones})).JSON200
	listed := 0
	for _, one := range *existing(client.ListWebhooksWithResponse(ctx)).JSON200 {
		if one.Id == webhook.Id {
			listed++
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"secret_characters": len(*created.Secret),
		"refusal":           refusal,
		"deliveries":        event.Deliveries,
		"listed":            listed,
		"url":               existing(client.GetWebhookWithResponse(ctx, webhook.Id)).JSON200.Url,
		"reason":            letter.Reason,
		"response_status":   letter.Response.Status,
		"replayed":          completed.Succeeded,
		"valid_rows":        existing(client.GetUploadWithResponse(ctx, upload.Id)).JSON200.ValidRowCount,
	}))
}

func existing[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func eventually[T any](find func() *T) *T {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if found := find(); found != nil {
			return found
		}
	}
	check(fmt.Errorf("nothing was found within %v", patience))
	return nil
}
