import re
from pathlib import Path

import jax
import pytest

from macaw_jax import envs

PAGES = Path(__file__).parents[2] / "docs" / "families"
SECTIONS = ("Reward", "Observation", "Start and end", "Tasks and splits", "Source and differences")


def index_rows():
  """Name of the family, its page, and the other cells of its row, of every row of the index."""
  rows = {}
  for line in (PAGES / "README.md").read_text().splitlines():
    if row := re.fullmatch(r"\| \[`(\w+)`\]\((\w+\.md)\) \|(.*)\|", line):
      name, page, cells = row.groups()
      assert name not in rows
      rows[name] = page, [cell.strip() for cell in cells.split("|")]
  return rows


ROWS = index_rows()


def test_the_index_lists_every_family_and_no_other():
  assert sorted(ROWS) == sorted(envs.FAMILIES)


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_a_row_of_the_index_says_what_the_code_does(name):
  family = envs.make(name)
  split = f"{len(family.train_tasks)} / {len(family.test_tasks)}"
  outside = family.extrapolation
  extrapolation = "none" if outside is None else f"{len(outside.train)} / {len(outside.test)}"
  sizes = [str(size) for size in (family.observation_size, family.action_size, family.horizon)]
  assert ROWS[name][1][:6] == [*sizes, split, extrapolation, family.differ_in]


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_a_family_has_its_page_with_every_section(name):
  page = (PAGES / ROWS[name][0]).read_text()
  assert f"`{name}`" in page
  assert re.findall(r"^## (.*)$", page, re.MULTILINE) == list(SECTIONS)


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_the_entries_of_the_observation_follow_one_another_to_the_last(name):
  page = (PAGES / ROWS[name][0]).read_text()
  if name == "cheetah_vel":  # refers to the page of the same body
    page = (PAGES / "cheetah_dir.md").read_text()
  table = page.split("## Observation")[1].split("\n## ")[0]
  spans = re.findall(r"^\| (\d+)(?:(?: to |, )(\d+))? \|", table, re.MULTILINE)
  covered = [entry for first, last in spans for entry in range(int(first), int(last or first) + 1)]
  assert covered == list(range(envs.make(name).observation_size))


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_a_page_states_the_number_of_tasks(name):
  page = (PAGES / ROWS[name][0]).read_text()
  num_tasks = len(jax.tree.leaves(envs.make(name).tasks)[0])
  assert re.search(r"Task 0 is forward, task 1 backward" if name == "cheetah_dir" else rf"\b{num_tasks}\b", page)


def test_links_of_the_pages_lead_somewhere():
  for page in PAGES.glob("*.md"):
    for target, section in re.findall(r"\]\(([\w.]+\.md)(?:#([\w-]+))?\)", page.read_text()):
      headings = re.findall(r"^#+ (.*)$", (PAGES / target).read_text(), re.MULTILINE)
      slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
      assert not section or section in slugs, f"{page.name}: {target}#{section}"


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_a_page_shows_its_family(name):
  picture = f"../images/families/{name}.gif"
  assert f"({picture})" in (PAGES / ROWS[name][0]).read_text()
  assert (PAGES / picture).read_bytes().startswith(b"GIF89a")
