"""Which models do I have, how good are they, and give me one. Run 01_first_run.py first."""

from __future__ import annotations

from ase.build import bulk

from onfly.library import ModelLibrary, ModelMismatchError


def main() -> None:
    library = ModelLibrary.from_settings()

    print("all models")
    for model in library.query():
        coverage = "–" if model.coverage is None else f"{model.coverage:.0%}"
        print(f"  {model.model_id}  {model.level_of_theory}  {model.state}  coverage {coverage}")

    # the newest of a compound that fits the task: a proven one, if there is one
    model = library.latest("Cu", level_of_theory="EMT", temperature=450.0)
    print(f"for copper at 450 K: {model.model_id}")

    # any condition in MongoDB's language, on any field of the document
    audited = library.query(elements=["Cu"], threshold_ev=0.2, n_audits={"$gte": 1})
    print(f"{len(audited)} models with copper, a threshold up to 0.2 eV and at least one audit")

    copper = bulk("Cu", cubic=True)
    copper.calc = library.calculator(model.model_id, structure=copper, temperature=450.0)
    print(f"energy {copper.get_potential_energy():.3f} eV")

    # models do not transfer, and the library says so before anything goes wrong
    try:
        library.calculator(model.model_id, structure=bulk("Ag", cubic=True))
    except ModelMismatchError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()
