"""Chinese phrases."""

from model.phrasing import Phrases

CHINESE = Phrases(
    titles={
        "recommendation": ("为您推荐{product}", "{product},为您推荐", "推荐给您:{product}", "今日推荐:{product}"),
        "ad": ("活动进行中:{campaign}", "{campaign}活动", "欢迎参加活动:{campaign}", "发现活动:{campaign}"),
        "ranking": ("{category}榜单", "您的{category}榜单", "{category},按您的喜好排序", "{category}排序清单"),
        "promotion": ("{product}优惠", "您的优惠:{product}", "{product}限享优惠", "优惠来了:{product}"),
    },
    bodies={
        "recommendation": (
            "根据您的口味推荐。",
            "和您常买的很相配。",
            "我们觉得它适合您。",
            "从您喜欢的商品中挑选。",
            "与您最近的浏览相符。",
        ),
        "ad": ("看看这次活动有什么。", "整个活动向您开放。", "活动内容都在这里。", "欢迎浏览活动。"),
        "ranking": ("榜单第一位:{product}。", "排在最前的是{product}。", "榜首是{product}。", "清单从{product}开始。"),
        "promotion": ("优惠持续{days}。", "优惠有效期{days}。", "此优惠保留{days}。", "{days}内享受优惠。"),
    },
    openers={
        "friendly": ("您好", "很高兴见到您", "欢迎回来", "亲爱的顾客"),
        "urgent": ("抓紧", "最后机会", "马上行动", "赶快"),
        "premium": ("尊享", "臻选", "品味之选", "非凡品质"),
        "playful": ("当当当", "猜猜看", "嘘", "惊喜来啦"),
    },
    closers={
        "friendly": ("很高兴为您服务。", "祝您生活愉快。", "期待与您再见,祝好。", "感谢您的陪伴。"),
        "urgent": ("赶快,售完即止。", "不要等太久。", "抓紧时间,很快就没了。", "所剩时间不多,赶快。"),
        "premium": ("品味不凡,值得尊享。", "臻选品质,绝不妥协。", "为非凡时刻而选。", "献给懂得品味的您。"),
        "playful": ("购物车在向您眨眼。", "小心,会忍不住跳舞。", "让购物车笑一笑吧。", "快乐已经打包好啦。"),
    },
    emphases={
        "relevance": ("最合您口味的在前。", "最适合您的排前面。"),
        "price": ("价格低的在前。", "最实惠的排前面。"),
        "popularity": ("最受欢迎的在前。", "大家都爱的排前面。"),
        "novelty": ("最新的在前。", "新品排前面。"),
        "margin": ("本店精选在前。", "店家自选排前面。"),
    },
    offers={
        "percent_off": ("立省{discount}。", "直降{discount}。", "价格降低{discount}。"),
        "percent_off_0": ("天天平价。", "一贯的公道价。"),
        "free_shipping": ("免运费,再省{discount}。", "包邮并直降{discount}。"),
        "free_shipping_0": ("免运费。", "我们包邮。"),
        "bundle": ("组合购买省{discount}。", "套装直降{discount}。"),
        "bundle_0": ("可组合购买。", "现有套装。"),
    },
    moments={
        "cart_abandoned": ("购物车还在等您。", "您的购物车里还有东西。"),
        "search_without_click": ("您搜索过却还没找到。", "还在找吗?"),
        "price_drop": ("价格降了。", "比以前便宜了。"),
        "category_interest": ("您在这里看过。", "您似乎感兴趣。"),
        "dormant_customer": ("好久不见。", "有一阵子没见到您了。"),
        "campaign_start": ("今天开始。", "刚刚开始。"),
    },
    tone_markers={
        "friendly": ("您好", "很高兴", "欢迎回来", "亲爱的", "祝您", "祝好", "感谢"),
        "urgent": ("抓紧", "最后机会", "马上", "赶快", "不要等"),
        "premium": ("尊享", "臻选", "品味", "非凡"),
        "playful": ("当当当", "猜猜", "嘘", "惊喜", "眨眼", "跳舞", "笑一笑", "快乐"),
    },
    kind_markers={
        "recommendation": ("推荐",),
        "ad": ("活动",),
        "ranking": ("榜", "排序", "清单"),
        "promotion": ("优惠",),
    },
    offer_markers={"percent_off": (), "free_shipping": ("免运费", "包邮"), "bundle": ("组合", "套装")},
    joint=":",
    space="",
    one_day="1天",
    many_days="{}天",
    discount="{}%",
)
