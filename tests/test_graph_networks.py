"""The graph networks: graphs, layers and features against naive twins, and what must not change them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.models.egnn import Egnn, EgnnLayer, local_degree_profile
from harness.models.gcn import Gcn, GcnLayer, largest
from harness.models.graph_networks import PointModel, build_egnn, build_gcn, identify, split_by_size
from harness.models.point_graphs import PointGraph, connect, directed_edges, join
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED, needs_shared
from safetensors.torch import save_file
from small_task import enter
from torch import nn
from torch.nn import functional

import harness
from harness.cli import main
from harness.errors import MismatchError, MissingDataError, ModelOutputError
from harness.plugins import load_registry
from harness.types import Batch, BuildContext

CARDS = load_registry().cards
KINDS: dict[str, type[Gcn | Egnn]] = {"gcn": Gcn, "egnn": Egnn}
BUILDERS: dict[str, Callable[[BuildContext], PointModel]] = {"gcn": build_gcn, "egnn": build_egnn}
GRID = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), axis=-1).reshape(-1, 2)
SIZES = (60, 0, 1, 2, 5, 6, 41, 7)
both = pytest.mark.parametrize("name", sorted(KINDS))
both_states = pytest.mark.parametrize("trained", [False, True])


def cloud(seed: int, n: int = 80) -> np.ndarray:
    """Return points in [-1, 1] without ties among distances."""
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2))


def batch(*clouds: np.ndarray) -> Batch:
    """Return samples of the view points."""
    return Batch(tuple(f"s/{row}" for row in range(len(clouds))), "points", points=clouds)


def context(name: str, *, seed: int = 0, weights: Path | None = None) -> BuildContext:
    """Return how a model is built: the twin, or with a file of weights."""
    options = {} if weights is None else {"weights": str(weights)}
    return BuildContext(CARDS[name], untrained=weights is None, seed=seed, view="points", channels=0, options=options)


def fit(network: nn.Module, steps: int) -> list[float]:
    """Train on loose grids against clouds, all in one batch; return the loss before each step."""
    clouds = [GRID + 0.03 * cloud(seed, len(GRID)) if seed % 2 else cloud(seed) for seed in range(8)]
    graphs, labels = join([connect(points) for points in clouds]), torch.arange(8) % 2
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-4)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(graphs), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@cache
def network_of(name: str, trained: bool) -> Gcn | Egnn:
    """Draw a classifier; move its weights away from their initial values where asked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = KINDS[name](2)
    if trained:
        fit(made, 5)
    return made


def features(name: str, trained: bool, clouds: Sequence[np.ndarray]) -> np.ndarray:
    """Return (N, 256) features of sets of points."""
    network = network_of(name, trained)
    with torch.inference_mode():
        return network.features(join([connect(points) for points in clouds])).numpy()


def difference(found: np.ndarray, want: np.ndarray) -> float:
    """Return the largest difference as a share of the largest feature."""
    return float(np.abs(found - want).max() / np.abs(want).max())


# ------------------------------------------------------------------ graphs


def naive_edges(points: np.ndarray, k: int) -> list[list[int]]:
    """Sort all distances of each point to the others."""
    n, pairs = len(points), set()
    for i in range(n):
        others = sorted((float(((points[i] - points[j]) ** 2).sum()), j) for j in range(n) if j != i)
        for _, j in others[:k]:
            pairs |= {(i, j), (j, i)}
    return [list(pair) for pair in sorted(pairs)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 6))
def test_edges_are_those_of_all_distances(seed: int, n: int, k: int) -> None:
    """Both directions of the k nearest others, for any number of points, fewer than k + 1 included."""
    points = np.random.default_rng(seed).random((n, 2))
    assert directed_edges(points, k).tolist() == naive_edges(points, k)


def test_edges_of_the_smallest_sets() -> None:
    """No point and one point have no edge; up to six points are each joined to all others."""
    assert directed_edges(np.empty((0, 2))).shape == (0, 2)
    assert directed_edges(np.zeros((1, 2))).shape == (0, 2)
    for n in range(2, 7):
        want = [[i, j] for i in range(n) for j in range(n) if i != j]
        assert directed_edges(cloud(n, n)).tolist() == want


def test_a_point_and_its_double_are_neighbours() -> None:
    """Exact duplicates stay two points, joined to one another and never to themselves."""
    points = cloud(0, 20)
    points[13] = points[4]
    edges = directed_edges(points, 5).tolist()
    assert edges == naive_edges(points, 5)
    assert [4, 13] in edges
    assert [4, 4] not in edges


def test_many_points_in_one_place() -> None:
    """Where more than k + 1 points coincide, each still has k others and none itself."""
    edges = directed_edges(np.zeros((12, 2)), 5)
    assert (edges[:, 0] != edges[:, 1]).all()
    assert np.bincount(edges[:, 0], minlength=12).min() >= 5
    assert sorted(map(tuple, edges)) == sorted(map(tuple, edges[:, ::-1]))


@pytest.mark.parametrize(("points", "k"), [(np.array([[0.0, np.nan]]), 5), (np.zeros((3, 2)), 0)])
def test_edges_refuse_what_has_none(points: np.ndarray, k: int) -> None:
    """A coordinate that is not a number, and no neighbour at all, are errors."""
    with pytest.raises(ValueError, match="expected"):
        directed_edges(points, k)


# ------------------------------------------------------------------ parts of the networks


def test_a_convolution_is_the_dense_formula() -> None:
    """D^-1/2 (A + I) D^-1/2 X W^T + b, one graph after the other; gradients are those of the dense formula."""
    graphs = [connect(cloud(seed, n)) for seed, n in enumerate(SIZES)]
    joined = join(graphs)
    torch.manual_seed(0)
    layer, inputs = GcnLayer(7, 5), torch.randn(sum(SIZES), 7, requires_grad=True)
    nn.init.normal_(layer.linear.bias)
    weight = torch.randn(sum(SIZES), 5)
    found = layer(inputs, joined)
    rows, start = [], 0
    for graph in graphs:
        n = len(graph.points)
        adjacency = torch.eye(n)
        for i, j in graph.edges:
            adjacency[i, j] = 1
        root = torch.diag(adjacency.sum(1) ** -0.5)
        rows.append(root @ adjacency @ root @ inputs[start : start + n] @ layer.linear.weight.T + layer.linear.bias)
        start += n
    want = torch.cat(rows)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    asked = (inputs, layer.linear.weight, layer.linear.bias)
    for one, two in zip(
        torch.autograd.grad((found * weight).sum(), asked),
        torch.autograd.grad((want * weight).sum(), asked),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_convolution_is_that_of_torch_geometric() -> None:
    """GCNConv with its default settings gives the same answer and the same gradients."""
    geometric = pytest.importorskip("torch_geometric.nn", reason="torch-geometric is not installed")
    graphs = join([connect(cloud(seed, n)) for seed, n in enumerate(SIZES)])
    torch.manual_seed(0)
    layer, other = GcnLayer(16, 8), geometric.GCNConv(16, 8)
    nn.init.normal_(layer.linear.bias)
    other.lin.weight.data, other.bias.data = layer.linear.weight.data.clone(), layer.linear.bias.data.clone()
    inputs = torch.randn(len(graphs.points), 16, requires_grad=True)
    weight = torch.randn(len(graphs.points), 8)
    found, want = layer(inputs, graphs), other(inputs, torch.stack([graphs.sender, graphs.receiver]))
    torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
    ours = torch.autograd.grad((found * weight).sum(), (inputs, layer.linear.weight, layer.linear.bias))
    theirs = torch.autograd.grad((want * weight).sum(), (inputs, other.lin.weight, other.bias))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_an_equivariant_layer_is_the_formula_edge_by_edge() -> None:
    """Messages, places and features of a naive loop; gradients too."""
    graph = connect(cloud(1, 12))
    graph = PointGraph(np.vstack([graph.points, [[3.0, 3.0]]]), graph.edges)  # the last point has no neighbour
    torch.manual_seed(0)
    layer = EgnnLayer(6)
    nn.init.normal_(layer.shift[2].weight)
    inputs, places = torch.randn(13, 6, requires_grad=True), torch.from_numpy(graph.points).float().requires_grad_()
    found, moved = layer(inputs, places, join([graph]), moves=True)
    states, wanted_places = [], []
    for i in range(13):
        received, shifts = [torch.zeros(6)], []
        for j in (int(j) for own, j in graph.edges if own == i):
            distance = (places[i] - places[j]).square().sum()[None]
            message = functional.silu(layer.pair(torch.cat([inputs[i], inputs[j], distance])))
            message = functional.silu(layer.message(message))
            received.append(message)
            shifts.append((places[i] - places[j]) * layer.shift(message))
        states.append(inputs[i] + layer.change(torch.cat([inputs[i], torch.stack(received).sum(0)])))
        wanted_places.append(places[i] + (torch.stack(shifts).mean(0) if shifts else 0))
    want, wanted = torch.stack(states), torch.stack(wanted_places)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved, wanted, atol=1e-5, rtol=1e-5)
    asked = (inputs, places, *layer.parameters())
    ours = torch.autograd.grad(found.square().sum() + moved.square().sum(), asked)
    naive = torch.autograd.grad(want.square().sum() + wanted.square().sum(), asked)
    for one, two in zip(ours, naive, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)  # sums of squares: gradients of up to 100


def test_products_do_not_depend_on_the_way() -> None:
    """Adding row by row, for devices without compressed matrices, gives what they give."""
    graphs = join([connect(cloud(0)), connect(cloud(1))])
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((160, 3))).float()
    for matrix in (graphs.normalised, graphs.at_receiver, graphs.at_sender):
        torch.testing.assert_close(matrix.summed(values), matrix.product(values), atol=1e-6, rtol=1e-6)


def test_ties_share_the_gradient_of_the_maximum() -> None:
    """The gradient is torch's own: points with the same largest value share it evenly."""
    values = torch.tensor([[1.0, 5.0], [1.0, 2.0], [0.0, 5.0], [4.0, 4.0]], requires_grad=True)
    answer = largest(values, (3, 0, 1))
    assert answer.tolist() == [[1.0, 5.0], [0.0, 0.0], [4.0, 4.0]]
    (gradient,) = torch.autograd.grad((answer * torch.tensor([[2.0, 6.0], [1.0, 1.0], [3.0, 4.0]])).sum(), values)
    assert gradient.tolist() == [[1.0, 3.0], [1.0, 0.0], [0.0, 3.0], [3.0, 4.0]]


@needs_shared
def test_degree_profile_is_the_stored_one() -> None:
    """Five columns a point equal the example worked out in the reference folder."""
    stored = json.loads((SHARED / "oracles/models/fingerprints.json").read_text())["local degree profile"]
    pairs = stored["undirected edges"]
    edges = np.array(sorted(pairs + [pair[::-1] for pair in pairs]))
    found = local_degree_profile(join([PointGraph(np.zeros((5, 2)), edges)]))
    np.testing.assert_allclose(found, stored["x [deg,min,max,mean,sd of neighbours' degrees]"], atol=1e-6)


def test_degree_profile_is_the_naive_one() -> None:
    """A loop over points and NumPy's moments give the same; one point alone has zeros."""
    graphs = [connect(cloud(seed, n)) for seed, n in enumerate((30, 1, 8))]
    want = []
    for graph in graphs:
        near = [graph.edges[graph.edges[:, 0] == i, 1] for i in range(len(graph.points))]
        degrees = np.array([len(one) for one in near])
        for one in near:
            around = degrees[one] if len(one) else np.zeros(1)
            want.append([len(one), around.min(), around.max(), around.mean(), around.std()])
    np.testing.assert_allclose(local_degree_profile(join(graphs)), want, atol=1e-5)


def test_degree_profile_is_that_of_torch_geometric() -> None:
    """LocalDegreeProfile gives the same on the undirected graph."""
    transforms = pytest.importorskip("torch_geometric.transforms", reason="torch-geometric is not installed")
    from torch_geometric.data import Data

    graphs = join([connect(cloud(0)), connect(cloud(1))])
    data = Data(edge_index=torch.stack([graphs.receiver, graphs.sender]), num_nodes=len(graphs.points))
    want = transforms.LocalDegreeProfile()(data).x
    np.testing.assert_allclose(local_degree_profile(graphs), want, atol=1e-4)  # theirs: mean square minus squared mean


# ------------------------------------------------------------------ networks


@pytest.mark.parametrize(("name", "whole", "feature"), [("gcn", 203_928, 197_760), ("egnn", 386_712, 380_544)])
def test_parameters(name: str, whole: int, feature: int) -> None:
    """With 24 classes and without the last linear map; the card expects the latter."""
    for classes, want in ((24, whole), (None, feature)):
        assert sum(parameter.numel() for parameter in KINDS[name](classes).parameters()) == want
    assert CARDS[name].expect.params == feature


@both
@both_states
def test_the_order_of_points_does_not_matter(name: str, trained: bool) -> None:
    """A permutation changes features by less than 1e-5, also on a grid, where neighbours tie."""
    clouds = [cloud(0), GRID]
    rng = np.random.default_rng(5)
    want = features(name, trained, clouds)
    for _ in range(3):
        found = features(name, trained, [rng.permutation(points) for points in clouds])
        assert difference(found, want) < 1e-5


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Rotate about the origin."""
    sine, cosine = np.sin(angle), np.cos(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


@both_states
def test_egnn_sees_neither_place_nor_direction(trained: bool) -> None:
    """Rotation, translation and reflection change features by less than 1e-5; another scale changes them more."""
    points = cloud(0)
    want = features("egnn", trained, [points])
    for changed in (turned(points, 0.7), turned(points, 2.9), points + np.array([0.6, -1.3]), points * [-1, 1]):
        assert difference(features("egnn", trained, [changed]), want) < 1e-5
    assert difference(features("egnn", trained, [5 * points]), want) > 1e-3


@both_states
def test_gcn_sees_direction(trained: bool) -> None:
    """A rotation changes the features of gcn."""
    points = cloud(0)
    assert difference(features("gcn", trained, [turned(points, 0.7)]), features("gcn", trained, [points])) > 1e-2


@both
def test_a_few_steps_reduce_the_loss(name: str) -> None:
    """AdamW tells two kinds of clouds apart better with every few steps."""
    torch.manual_seed(0)
    losses = fit(KINDS[name](2), 30)
    assert losses[-1] < 0.8 * losses[0]


@both
def test_micro_batches_add_up(name: str) -> None:
    """Gradients of two halves add up to those of the whole batch, and every weight that is read has one."""
    network = network_of(name, False)
    graphs = [connect(cloud(seed, n)) for seed, n in enumerate(SIZES)]
    gradients = []
    for parts in ([graphs], [graphs[:3], graphs[3:]]):
        network.zero_grad()
        for part in parts:
            network(join(part)).square().sum().backward()
        gradients.append({key: one.grad for key, one in network.named_parameters()})
    network.zero_grad()
    idle = {key for key, gradient in gradients[0].items() if gradient is None}
    assert idle == ({key for key in gradients[0] if key.startswith("layers.2.shift")} if name == "egnn" else set())
    for key in gradients[0].keys() - idle:
        largest_one = float(gradients[0][key].abs().max())
        assert largest_one > 0
        torch.testing.assert_close(gradients[1][key], gradients[0][key], atol=1e-5 * largest_one, rtol=1e-4)


# ------------------------------------------------------------------ models


@both
def test_a_batch_gives_what_single_samples_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of any size, none included, have the same vector alone, together, and in several steps."""
    model = BUILDERS[name](context(name))
    clouds = [cloud(seed, n).astype(np.float32 if seed % 2 else np.float64) for seed, n in enumerate(SIZES)]
    whole = model.embed(batch(*clouds), ["last"])["last"]
    assert (whole.shape, whole.dtype) == ((len(SIZES), 256), np.float32)
    for row, points in enumerate(clouds):
        assert difference(model.embed(batch(points), ["last"])["last"][0], whole[row]) < 1e-5
    assert np.array_equal(model.embed(batch(*clouds), ["last"])["last"], whole)
    monkeypatch.setitem(build_gcn.__globals__["_POINTS_A_STEP"], "cpu", 45)
    assert difference(model.embed(batch(*clouds), ["last"])["last"], whole) < 1e-5
    assert [part.stop for part in split_by_size(SIZES, 45)] == [1, 6, 7, 8]


@both
def test_no_points_pool_to_zeros(name: str) -> None:
    """A sample without points has what the last linear map makes of zeros."""
    model = BUILDERS[name](context(name))
    bias = model.module.hidden.bias
    want = torch.relu(bias) if name == "gcn" else functional.silu(bias)
    np.testing.assert_allclose(model.embed(batch(np.empty((0, 2))), ["last"])["last"][0], want, atol=1e-6)


@both
def test_seeds_draw_networks(name: str) -> None:
    """A seed gives the same vectors every time, another seed others; torch's random state stays as it was."""
    state = torch.random.get_rng_state()
    one, same, other = (
        BUILDERS[name](context(name, seed=seed)).embed(batch(cloud(0)), ["last"])["last"] for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert difference(other, one) > 1e-2
    assert torch.equal(torch.random.get_rng_state(), state)


@both
def test_a_model_is_in_inference_mode(name: str) -> None:
    """Nothing of a built model is trained, and its network is that of the card without a classifier."""
    module = BUILDERS[name](context(name)).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert isinstance(module.classifier, nn.Identity)


@both
def test_a_model_takes_finite_points_only(name: str) -> None:
    """Images are a mismatch; points that are not finite or not in the plane are named by their sample."""
    model = BUILDERS[name](context(name))
    with pytest.raises(MismatchError, match=f"{name}: takes points; the view image holds none"):
        model.embed(Batch(("a",), "image", images=np.zeros((1, 3, 8, 8), dtype=np.uint8)), ["last"])
    for wrong in (np.array([[0.0, np.inf]]), np.zeros((4, 3))):
        with pytest.raises(ModelOutputError, match=f"{name}: s/1: expected finite points"):
            model.embed(batch(cloud(0), wrong), ["last"])


@both
@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("classes", [24, None])
def test_weights_go_to_a_file_and_back(name: str, kind: str, classes: int | None, tmp_path: Path) -> None:
    """A trained network has the same features after a file; the classifier in the file is left out."""
    torch.manual_seed(1)
    network, path = KINDS[name](classes), tmp_path / "trained"
    (save_file if kind == "safetensors" else torch.save)(network.state_dict(), path)
    asked = context(name, weights=path)
    found = BUILDERS[name](asked).embed(batch(cloud(0), cloud(1)), ["last"])["last"]
    with torch.inference_mode():
        want = network.features(join([connect(cloud(0)), connect(cloud(1))])).numpy()
    assert np.array_equal(found, want)
    assert identify(asked) == harness.hashing.hash_file(path)


@both
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    """What is missing, too much, or of another shape is named."""
    state = KINDS[name](24).state_dict()
    path = tmp_path / "wrong.pt"
    torch.save(
        {
            **{key: value for key, value in state.items() if key != "projection.bias"},
            "hidden.bias": torch.zeros(7),
            "extra.weight": torch.zeros(1),
        },
        path,
    )
    with pytest.raises(MissingDataError, match="does not fit") as caught:
        BUILDERS[name](context(name, weights=path))
    assert str(caught.value) == (
        f"{name}: {path} does not fit: 1 missing (first: projection.bias), 1 unexpected (first: extra.weight), "
        "1 wrong shape (first: hidden.bias (7,) instead of (256,)). Wrong file or revision?"
    )


@both
def test_without_weights_there_is_only_the_twin(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model by its name alone says how to train it, and exits 5; so does its builder."""
    message = (
        f"{name}: trained weights needed. `harness train {name} --task synthetic-gnn` makes them; then ask for "
        f"{name}-synthetic, or for {name},weights=FILE. untrained:{name} runs at once, without weights."
    )
    enter(tmp_path, monkeypatch)
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--model", name, "--tasks", "tiny.yaml@points", "--baselines", "none"])
    assert stop.value.code == 5
    assert message in capsys.readouterr().err
    with pytest.raises(MissingDataError, match="trained weights needed") as caught:
        BUILDERS[name](replace(context(name), untrained=False))
    assert str(caught.value) == message


def test_twins_are_evaluated_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both twins have a score of three seeds on a small task, and so has a network from a file."""
    folder = enter(tmp_path, monkeypatch, train=2, val=1, test=1)
    torch.manual_seed(0)
    save_file(Gcn(24).state_dict(), folder / "gcn.safetensors")
    options = {"baselines": "none", "output": None}
    twins = harness.evaluate("untrained:gcn,untrained:egnn", "tiny.yaml@points", **options)
    assert [(result.model.name, result.view, result.headline.n_seeds) for result in twins] == [
        ("untrained:gcn", "points", 3),
        ("untrained:egnn", "points", 3),
    ]
    (trained,) = harness.evaluate("gcn,weights=gcn.safetensors", "tiny.yaml@points", **options)
    for result in (*twins, trained):
        assert 0 < result.metrics["accuracy"].value <= 1
