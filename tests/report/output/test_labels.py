from matplotlib.text import Text

from robust_transfer.report.output import canvas, labels


def test_names_of_crowded_points_do_not_cover_each_other():
    points = [(x * 0.06, y * 0.06, f"name{x}{y}", "black") for x in range(3) for y in range(3)]
    with canvas.panels(1, 1) as (figure, [axis]):
        axis.set(xlim=(-1, 1), ylim=(-1, 1))
        labels.place(axis, points)
        figure.canvas.draw()  # texts know their place only then
        renderer = figure.canvas.get_renderer()
        boxes = [Text.get_window_extent(text, renderer) for text in axis.texts]  # without the lines
        frame = axis.get_window_extent()
    area = sum(
        max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )
    assert len(boxes) == 9
    assert area < 0.1 * sum(box.width * box.height for box in boxes)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
