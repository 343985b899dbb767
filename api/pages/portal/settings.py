"""The page of an endpoint's settings, where expressions are tried on a sample event before they are saved."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from starlette.responses import Response

from sendoff.accounts.portal_links import Capability
from sendoff.endpoints.manage import EndpointChange, get_endpoint, update_endpoint
from sendoff.endpoints.trial import ExpressionTrial, try_expressions
from sendoff.errors import Conflict, Invalid, SendoffError
from sendoff.policy.endpoints.expressions import Expressions
from sendoff.publishing.publish import NewEvent
from sendoff.store.tables import Endpoint

from ...customers.event_types import list_views
from ...http.errors import status_of
from ..endpoint_fields import AUTH_LABELS, INPUTS
from ..page import PageRequest
from ..samples import parse_sample, sample_data
from .settings_form import AUTH_FIELDS, KEEP, SECRETS, SettingsForm
from .surface import BASE, get, organization_of, post


@dataclass(frozen=True, slots=True)
class _Sample:
    """The event that expressions are tried on."""

    type: str = ""
    data: str = ""


async def show(page: PageRequest) -> Response:
    endpoint = await _find(page)
    return await _settings_page(page, endpoint, SettingsForm.of_endpoint(endpoint))


async def submit(page: PageRequest) -> Response:
    """Save the settings or, by the button beside the sample, only try the expressions."""
    endpoint, form, sent = await _find(page), await SettingsForm.of_page(page), await page.form()
    sample = _Sample(sent.get("sample_type", ""), sent.get("sample", ""))
    try:
        change = form.changes(SettingsForm.of_endpoint(endpoint))
        if sent.get("do") == "try":
            trial = await _try(page, form, sample)
            return await _settings_page(page, endpoint, form, sample=sample, trial=trial)
        await update_endpoint(page.context, organization_of(page), page.actor, endpoint.id, EndpointChange(change))
    except (Conflict, Invalid) as error:
        return await _settings_page(page, endpoint, form, sample=sample, error=error)
    return page.redirect(f"{BASE}/endpoints/{endpoint.id}", notice="saved")


async def _try(page: PageRequest, form: SettingsForm, sample: _Sample) -> ExpressionTrial:
    event = NewEvent(sample.type or "sample", orjson.dumps(parse_sample(sample.data, field="sample")))
    expressions = Expressions(form.filter or None, form.transform or None)
    return await try_expressions(page.context, organization_of(page), event, expressions)


async def _find(page: PageRequest) -> Endpoint:
    return await get_endpoint(page.context, organization_of(page), page.parameter("endpoint_id"))


async def _settings_page(
    page: PageRequest,
    endpoint: Endpoint,
    form: SettingsForm,
    *,
    sample: _Sample | None = None,
    trial: ExpressionTrial | None = None,
    error: SendoffError | None = None,
) -> Response:
    types = await list_views(page.context)
    if sample is None:
        chosen = sample_data(types, endpoint.events, page.query.get("type", ""))
        sample = _Sample(*chosen)
    return page.render(
        "portal/settings.html",
        status=200 if error is None else status_of(type(error)),
        endpoint=endpoint,
        form=form,
        inputs=INPUTS,
        types=[one.name for one in types],
        sample=sample,
        trial=trial,
        error=error,
        auth_fields=AUTH_FIELDS,
        auth_labels=AUTH_LABELS,
        keep=KEEP,
        secrets=SECRETS,
    )


_ONE = "/endpoints/{endpoint_id}/settings"
ROUTES = (get(_ONE, show, Capability.MANAGE), post(_ONE, submit, Capability.MANAGE))
