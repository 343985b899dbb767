"""The operators' surface: `/operator/v1`, across organizations, scope `operator`."""
