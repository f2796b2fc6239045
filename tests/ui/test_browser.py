"""What a person sees in Airflow's web interface: the connection, a green load, a red one. Run by ``make ui-test``."""

from __future__ import annotations

import pytest

from airflow_provider_vectorize import get_provider_info
from airflow_provider_vectorize.assets import vectorize_index
from airflow_provider_vectorize.emulator.instance import ANY_ACCOUNT
from airflow_provider_vectorize.links import index_url
from tests.real.live import wait_until
from tests.ui.serve import CONN_ID, TOKEN

[FORM] = get_provider_info()["connection-types"]
#: Gives where a text ends, to the right, and where the log around it ends.
MEASURE = """
const log = document.querySelector('[data-testid=virtual-scroll-container]');
const walker = document.createTreeWalker(log, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const place = walker.currentNode.data.indexOf(arguments[0]);
  if (place >= 0) {
    const range = document.createRange();
    range.setStart(walker.currentNode, place);
    range.setEnd(walker.currentNode, place + arguments[0].length);
    return [range.getBoundingClientRect().right, log.getBoundingClientRect().right];
  }
}
"""


def edit(browser, conn_id):
    browser.open("/connections", conn_id)
    browser.click(f"tr:has(a[href$='{conn_id}'], td) button[aria-label='Edit Connection']")
    browser.reads("Edit Connection", FORM["hook-name"])


def test_the_form_of_the_connection(browser, here):
    edit(browser, CONN_ID)
    text = browser.reads(*FORM["ui-field-behaviour"]["relabeling"].values())
    assert "Account ID" in text
    fields = browser.fields()
    assert fields["password"].get_attribute("type") == "password"
    assert fields["password"].get_attribute("value") == "***"
    assert fields["login"].get_attribute("value") == here.emulator.account
    browser.picture("connection")
    browser.click("[role=dialog] button", "Extra Fields")
    for field in FORM["conn-fields"].values():
        browser.reads(field["label"], field["description"])
    browser.picture("connection-extra")


def test_a_connection_is_made_saved_and_opened_again(browser, here):
    browser.open("/connections", "Add Connection")
    browser.click("button", "Add Connection")
    browser.find("[role=dialog] input[name=connection_id]").send_keys("by_hand")
    browser.find("[role=dialog] input[role=combobox]").send_keys("Cloudflare Vec\n")
    browser.reads("Account ID")
    values = {
        "host": "127.0.0.1", "login": here.emulator.account, "password": "another-" + TOKEN,
        "port": str(here.emulator.port), "schema": "http",
    }  # fmt: skip
    for name, value in values.items():
        browser.fields()[name].send_keys(value)
    browser.click("[role=dialog] button", "Extra Fields")
    browser.find("[role=dialog] input[name=element_index_name]").send_keys("passages")
    browser.click("[role=dialog] button", "Save")
    browser.wait(lambda: not browser.driver.find_elements("css selector", "[role=dialog]"), "it is saved")
    edit(browser, "by_hand")
    found = {name: field.get_attribute("value") for name, field in browser.fields().items()}
    assert {name: found[name] for name in values} == values | {"password": "***"}
    assert found["element_index_name"] == "passages"


@pytest.mark.parametrize(
    ("conn_id", "says"),
    [
        (CONN_ID, ["Test Connection Successful"]),
        ("wrong", ["Test Connection Failed", "Check the connection"]),
    ],
)
def test_the_test_button(browser, here, conn_id, says):
    here.airflow.set_connection(
        "wrong", port=here.emulator.port, account=here.emulator.account, token="not-the-" + TOKEN[:30]
    )
    browser.open("/connections", conn_id)
    browser.driver.find_element(
        "xpath", f"//tr[.//*[text()='{conn_id}']]//button[@aria-label='Test Connection']"
    ).click()
    browser.reads(*says)
    browser.picture(f"test-{conn_id}")


def run(here, dag_id, *expected):
    run = here.airflow.trigger(dag_id)
    path = f"{run.path}"
    state = wait_until(
        lambda: (found := here.airflow.request("GET", path)["state"]) in ("success", "failed") and found,
        f"{dag_id} has ended",
        400,
    )
    assert state in expected
    return run


def test_a_mapped_load_that_is_green(browser, here):
    # The API asks for patience, so that the load is long enough to tell how far it has come.
    here.emulator.add_faults([{"operation": "upsert", "kind": "status", "status": 429, "retry_after": 6}])
    green = run(here, "mapped_load", "success")
    path = f"/dags/mapped_load/runs/{green.run_id}/tasks/load"
    browser.open(f"{path}/mapped/0", "Success", "Loaded into", "can be seen")
    browser.picture("green")
    browser.open(f"{path}/mapped/0/xcom", "report", "return_value")
    browser.click("button[aria-label='Expand all extra JSON']")
    browser.reads('"accepted": 100', '"rejected": 0')
    browser.picture("report")
    the_link_leads_to_the_index(browser, path)
    the_asset_has_an_event(browser, here)


def the_link_leads_to_the_index(browser, path):
    browser.open(f"{path}/mapped/0/details", "Vectorize index")
    [link] = browser.driver.find_elements("xpath", "//a[.='Vectorize index']")
    assert link.get_attribute("href") == index_url(ANY_ACCOUNT, "passages")


def the_asset_has_an_event(browser, here):
    uri = vectorize_index(ANY_ACCOUNT, "passages").uri
    [asset] = here.airflow.request("GET", "/assets", params={"uri_pattern": uri})["assets"]
    browser.open(f"/assets/{asset['id']}", uri, "mapped_load")
    browser.picture("asset")
    events = here.airflow.request("GET", "/assets/events", params={"asset_id": asset["id"]})["asset_events"]
    assert [event["extra"]["accepted"] for event in events] == [100, 100, 100]


def test_a_red_task_can_be_read_without_scrolling_sideways(browser, here):
    red = run(here, "red_load", "failed")
    sentence = "the index has 384 dimensions, the vector 383 [wrong_dimensions]"
    text = browser.open(f"/dags/red_load/runs/{red.run_id}/tasks/load", "Failed", "line 42", sentence)
    assert text.count(sentence) == 1
    browser.picture("red")
    for words in ("line 42 (id 'cycling-02'):", sentence):
        right, edge = browser.driver.execute_script(MEASURE, words)
        assert right <= edge, words
