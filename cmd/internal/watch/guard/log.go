package guard

import (
	"context"
	"log/slog"
	"time"

	"example.com/linktracker/cmd/internal/watch"
)

// LogAlert logs an alert as one line, "message":"abuse alert" with what
// [watch.Alert.Attrs] tells and what was done. Terraform makes notifications of
// such lines.
func LogAlert(log *slog.Logger, a watch.Alert, o Outcome) {
	attrs := a.Attrs()
	if !o.BlockedUntil.IsZero() {
		attrs = append(attrs, slog.String("blocked_until", o.BlockedUntil.UTC().Format(time.RFC3339)))
	}
	if o.NotBlocked != "" {
		attrs = append(attrs, slog.String("not_blocked", o.NotBlocked))
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", o.Err.Error()))
	}
	log.LogAttrs(context.Background(), a.Severity, "abuse alert", attrs...)
}
