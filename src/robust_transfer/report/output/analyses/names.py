"""Every analysis by its name, with the question that it answers."""

ANALYSES = {
    "published": "what the published tables' own numbers say of n, power and uncertainty",
    "equivalence": "is robust pre-training unnecessary? two one-sided tests (table 4)",
    "conditional": "are correct images more robust? RA/SA with tests, R² beside its reference (table 2)",
    "sets": "how the effect varies over data sets: mixed model, meta-regression (table 2)",
    "improvement": "how often pre-training improves, and performance profiles (table 2)",
    "frontier": "SA against RA, and the models on the Pareto frontier (table 2)",
    "radii": "where changes in ACR come from, by difficulty of images (table 3)",
    "labels": "how many labels pre-training saves",
    "cost": "device-hours and kWh per point of RA, and break-even over targets (table 2)",
}
